import { TcpProxy } from '../servers/tcp-proxy.ts';
import { zookeeperClasses, ZookeeperServer } from '../servers/zookeeper.ts';
import { GUARD, registryStorms } from './registry-storms.ts';

registryStorms('ZooKeeper', zookeeperClasses !== undefined, async () => {
  const zookeeper = await ZookeeperServer.start();
  const proxy = await TcpProxy.to(zookeeper.address.port);
  return {
    server: zookeeper.server,
    proxy,
    registries: `[{ name: zk, type: zookeeper, ${GUARD}, connect: '127.0.0.1:${proxy.port}', path: /services }]`,
    register: (service, id, port) => zookeeper.put(`/services/${service}/${id}`, { host: '127.0.0.1', port }),
    deregister: (service, id) => zookeeper.delete(`/services/${service}/${id}`),
    dispose: async () => {
      await proxy[Symbol.asyncDispose]();
      await zookeeper[Symbol.asyncDispose]();
    },
  };
});
