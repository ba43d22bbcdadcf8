/**
 * What a balancer may choose from: exactly the instances that may have traffic now. Immutable; a change of anything
 * in it makes a new one with a higher revision.
 */
export interface Candidates {
  readonly revision: number;
  /** Slots of the instances, in a stable order. Never modified. */
  readonly slots: Int32Array;
  /** All weights are the same, so that no table of weights is needed. May be false although they are. */
  readonly uniform: boolean;
}

/** The live numbers a balancer may read, indexed by slot. `upstream/figures.ts` has this shape. */
export interface LoadFigures {
  readonly inflight: Int32Array;
  readonly weight: Float64Array;
  readonly latencyMs: Float64Array;
}

/**
 * Chooses among candidates, and never looks at health: who is not in `candidates` is not available, who is, is.
 * One balancer serves one service on one thread, and may keep state between picks (a rotation, prefix sums of a
 * revision).
 */
export interface Balancer {
  /**
   * A slot out of `candidates.slots` that is not among the first `triedCount` entries of `tried`, or -1 where none
   * is left. Must not scan all candidates on the common path, and must not allocate.
   */
  pick(candidates: Candidates, tried: Int32Array, triedCount: number): number;
}
