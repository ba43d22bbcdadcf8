import { EtcdServer, etcdBinary } from '../servers/etcd.ts';
import { TcpProxy } from '../servers/tcp-proxy.ts';
import { GUARD, registryStorms } from './registry-storms.ts';

registryStorms('etcd', etcdBinary !== undefined, async () => {
  const etcd = await EtcdServer.start();
  const proxy = await TcpProxy.to(etcd.port);
  return {
    server: etcd.server,
    proxy,
    registries: `[{ name: etcd, type: etcd, ${GUARD}, endpoints: ['http://127.0.0.1:${proxy.port}'], prefix: /services/ }]`,
    register: (service, id, port) => etcd.put(`/services/${service}/${id}`, { host: '127.0.0.1', port }),
    deregister: (service, id) => etcd.delete(`/services/${service}/${id}`),
    dispose: async () => {
      await proxy[Symbol.asyncDispose]();
      await etcd.server[Symbol.asyncDispose]();
    },
  };
});
