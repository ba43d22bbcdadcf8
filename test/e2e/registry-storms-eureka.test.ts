import { eurekaJar, EurekaServer } from '../servers/eureka.ts';
import { TcpProxy } from '../servers/tcp-proxy.ts';
import { GUARD, registryStorms } from './registry-storms.ts';

registryStorms('Eureka', eurekaJar !== undefined, async () => {
  const eureka = await EurekaServer.start();
  const proxy = await TcpProxy.to(eureka.port);
  return {
    server: eureka.server,
    proxy,
    registries: `[{ name: eureka, type: eureka, ${GUARD}, urls: ['http://127.0.0.1:${proxy.port}/eureka'], pollInterval: 250ms }]`,
    register: (service, id, port) =>
      eureka.register({
        app: service.toUpperCase(),
        instanceId: `${service}.${id}`,
        hostName: '127.0.0.1',
        ipAddr: '127.0.0.1',
        status: 'UP',
        port: { $: port, '@enabled': 'true' },
        leaseInfo: { renewalIntervalInSecs: 30, durationInSecs: 3600 },
        dataCenterInfo: { '@class': 'com.netflix.appinfo.InstanceInfo$DefaultDataCenterInfo', name: 'MyOwn' },
      }),
    deregister: (service, id) => eureka.call('DELETE', `apps/${service.toUpperCase()}/${service}.${id}`),
    dispose: async () => {
      await proxy[Symbol.asyncDispose]();
      await eureka[Symbol.asyncDispose]();
    },
  };
});
