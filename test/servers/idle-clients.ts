/**
 * Keep-alive connections that rest: `node test/servers/idle-clients.ts PORT COUNT`. Each makes one request to
 * `web.localhost`; prints `idle COUNT` once all have had their answers, and holds them until it is killed.
 */
import net from 'node:net';

const [, , port, count] = process.argv;
const AT_ONCE = 200;
let begun = 0;
let rested = 0;

function one(): void {
  if (begun >= Number(count)) return;
  begun++;
  const socket = net.connect(Number(port), '127.0.0.1');
  socket.write('GET / HTTP/1.1\r\nHost: web.localhost\r\n\r\n');
  socket.once('data', (bytes) => {
    if (!bytes.toString('latin1').startsWith('HTTP/1.1 200 ')) fail(bytes.toString());
    rested++;
    if (rested === Number(count)) console.log(`idle ${rested}`);
    one();
  });
  socket.on('error', (error) => fail(error.message));
  socket.on('end', () => fail('a connection was closed'));
}

function fail(why: string): void {
  console.error(why);
  process.exit(1);
}

for (let i = 0; i < AT_ONCE; i++) one();
