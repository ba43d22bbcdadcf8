import { ConsulServer, consulBinary } from '../servers/consul.ts';
import { TcpProxy } from '../servers/tcp-proxy.ts';
import { GUARD, registryStorms } from './registry-storms.ts';

registryStorms('Consul', consulBinary !== undefined, async () => {
  const consul = await ConsulServer.start();
  const proxy = await TcpProxy.to(consul.port);
  return {
    server: consul.server,
    proxy,
    // A connection that dies in silence is found out after the wait and ten seconds.
    registries: `[{ name: consul, type: consul, ${GUARD}, address: 'http://127.0.0.1:${proxy.port}', wait: 5s }]`,
    // Consul's ids are unique per agent, not per service.
    register: (service, id, port) =>
      consul.register({ ID: `${service}.${id}`, Name: service, Address: '127.0.0.1', Port: port }),
    deregister: (service, id) => consul.deregister(`${service}.${id}`),
    dispose: async () => {
      await proxy[Symbol.asyncDispose]();
      await consul.server[Symbol.asyncDispose]();
    },
  };
});
