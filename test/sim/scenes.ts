import { SERVICE } from './gateway.ts';
import { MODES, type Mode, type Process } from './process.ts';
import type { Simulation } from './simulation.ts';

const FAULTS = MODES.filter((mode) => mode !== 'up');
const ROLL_MS = 3000;

/**
 * What any operation must take without a failed request: one instance at a time misbehaves, others are rolled, scaled in
 * and out, and the registry comes and goes.
 */
export async function gentle(sim: Simulation): Promise<void> {
  const untilMs = sim.time.nowMs + sim.between(4000, 9000);
  let busy = 0;
  const alone = (task: () => Promise<void>): void => {
    busy++;
    sim.background(task().finally(() => busy--));
  };
  while (sim.time.nowMs < untilMs) {
    await sim.pass(sim.between(50, 900));
    const dice = sim.random();
    if (dice < 0.3) registryTrouble(sim);
    else if (dice < 0.4 && sim.running.size < 12) sim.register(sim.newProcess());
    else if (busy === 0 && sim.serving().length >= 3) {
      const process = sim.oneOf(sim.serving());
      if (dice < 0.75) alone(async () => misbehave(sim, process, sim.oneOf(FAULTS), sim.between(100, 4000)));
      else if (dice < 0.9) alone(async () => roll(sim, process));
      else alone(async () => leave(sim, process));
    }
  }
}

/** Anything, at any time, to anybody. */
export async function wild(sim: Simulation): Promise<void> {
  const untilMs = sim.time.nowMs + sim.between(3000, 9000);
  while (sim.time.nowMs < untilMs) {
    await sim.pass(sim.between(10, 600));
    const processes = [...sim.network.processes];
    const process = sim.oneOf(processes);
    const dice = sim.random();
    if (dice < 0.3) sim.become(process, sim.oneOf(FAULTS));
    else if (dice < 0.5) sim.become(process, 'up');
    else if (dice < 0.55) flap(sim, process);
    else if (dice < 0.62) registryTrouble(sim);
    else if (dice < 0.7) sim.drain(process, true);
    else if (dice < 0.78) sim.drain(process, false);
    else if (dice < 0.84 && sim.running.size < 10) sim.register(sim.oneOf([process, sim.newProcess()]));
    else if (dice < 0.9 && sim.running.has(process.instance.id)) sim.deregister(process);
    else if (dice < 0.93) sim.stall(sim.between(10, 800));
    else if (dice < 0.96) sim.time.wallMs += sim.oneOf([-3_600_000, 3_600_000]);
    else if (dice < 0.98) sim.moveOff(process);
    else sim.killThread();
  }
  if (sim.running.size === 0) sim.register(sim.newProcess());
}

/** Everything goes at once, and comes back. */
export async function outage(sim: Simulation): Promise<void> {
  await sim.pass(sim.between(500, 3000));
  const how = sim.oneOf(FAULTS.filter((mode) => mode !== 'slow'));
  const before = sim.laws.spent;
  for (const process of sim.running.values()) sim.become(process, how);
  await sim.pass(sim.between(2000, 8000));
  sim.laws.checkBudget(before);
  for (const process of sim.running.values()) {
    sim.become(process, 'up');
    await sim.pass(sim.between(0, 300));
  }
}

/** Most of them are stopped, two at most are killed, and at least one goes on. */
export async function shortage(sim: Simulation): Promise<void> {
  await sim.pass(sim.between(1500, 4000));
  const [, ...others] = [...sim.running.values()].sort(() => sim.random() - 0.5);
  const away = others.slice(0, 1 + Math.floor(sim.random() * others.length));
  const killed = sim.oneOf([0, 1, 2]);
  const stopped = away.length - Math.min(killed, away.length);
  sim.laws.mustAnswer(stopped);
  for (const [at, process] of away.entries()) {
    sim.become(process, at < killed ? 'dead' : 'hung');
    await sim.pass(sim.between(0, 400));
  }
  await sim.pass(sim.between(3000, 9000));
  for (const process of away) {
    sim.become(process, 'up');
    await sim.pass(sim.between(0, 1000));
  }
}

async function misbehave(sim: Simulation, process: Process, mode: Mode, forMs: number): Promise<void> {
  sim.become(process, mode);
  await sim.wait(forMs);
  sim.become(process, 'up');
}

/** As a careful operator restarts an instance. */
async function roll(sim: Simulation, process: Process): Promise<void> {
  sim.drain(process, true);
  for (let waitedMs = 0; waitedMs < ROLL_MS && (waitedMs === 0 || sim.inflight(process) > 0); waitedMs += 100)
    await sim.wait(100);
  sim.become(process, 'dead');
  await sim.wait(sim.between(100, 1500));
  sim.become(process, 'up');
  await sim.wait(200);
  sim.drain(process, false);
}

/** As an orchestrator takes an instance away. */
async function leave(sim: Simulation, process: Process): Promise<void> {
  sim.deregister(process);
  await sim.wait(sim.between(500, 2000));
  sim.become(process, 'dead');
}

function flap(sim: Simulation, process: Process): void {
  for (let turn = 0; turn < 8; turn++) {
    sim.world.after(turn * 150, () => {
      sim.become(process, turn % 2 === 0 ? 'dead' : 'up');
    });
  }
}

function registryTrouble(sim: Simulation): void {
  const { registry } = sim;
  const table = [...(registry.services.get(SERVICE)?.values() ?? [])];
  const [name, cause] = sim.oneOf<[string, () => void]>([
    ['is lost', () => registry.lose()],
    ['is frozen', () => registry.freeze()],
    ['refuses', () => registry.refuse()],
    ['is back', () => registry.restore()],
    ['is back', () => registry.restore()],
    ['is reset', () => registry.replace(SERVICE, table)],
    ['lies', () => registry.lie({ kind: 'reset', service: SERVICE, instances: table.slice(0, table.length >> 2) })],
    ['says that there is no such service', () => registry.lie({ kind: 'absent', service: SERVICE })],
    ['has forgotten everything', () => forget(sim)],
  ]);
  sim.registryTroubled = true;
  sim.trace.note(() => `the registry ${name}`);
  cause();
}

/** The registry restarts empty, and its instances come back by themselves. */
function forget(sim: Simulation): void {
  sim.registry.restartEmpty();
  for (const process of sim.running.values()) {
    sim.world.after(sim.between(100, 2000), () => {
      if (sim.running.has(process.instance.id)) sim.registry.register(process.instance);
    });
  }
}
