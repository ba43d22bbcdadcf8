/** How many connections all probes together may keep between runs. */
export class KeptConnections {
  readonly #most: number;
  #limit: number;
  #kept = 0;

  constructor(most: number) {
    this.#most = most;
    this.#limit = most;
  }

  get kept(): number {
    return this.#kept;
  }

  /** Whether one more may be kept; if so, `release` it once. */
  take(): boolean {
    if (this.#kept >= this.#limit) return false;
    this.#kept++;
    return true;
  }

  release(): void {
    this.#kept--;
  }

  /** Descriptors have run out: keep half as many, so that what is kept beyond that is closed after its next use. */
  shrink(): void {
    this.#limit = Math.floor(Math.min(this.#limit, this.#kept) / 2);
  }

  /** A connection could be opened: grow back. */
  grow(): void {
    if (this.#limit < this.#most) this.#limit++;
  }
}
