/**
 * For `node --import`: a platform without SO_REUSEPORT, where libuv answers ENOTSUP, and without a way to duplicate
 * descriptors, which is Linux alone.
 */
import net from 'node:net';

const { listen } = net.Server.prototype;
net.Server.prototype.listen = function listenAlone(...args) {
  const [options] = args;
  if (typeof options === 'object' && options?.reusePort === true) {
    const error = Object.assign(new Error('listen ENOTSUP'), { code: 'ENOTSUP' });
    setImmediate(() => this.emit('error', error));
    return this;
  }
  return listen.apply(this, args);
};
net._createServerHandle = undefined;
