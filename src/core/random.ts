/** Uniform in [0, 1). Passed in, so that a seed replays a failure. */
export type Random = () => number;

export const systemRandom: Random = () => Math.random();

/** Mulberry32: 32 bits of state, fast, good enough for balancing and simulation; never for secrets. */
export function seededRandom(seed: number): Random {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = state;
    mixed = Math.imul(mixed ^ (mixed >>> 15), mixed | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296;
  };
}
