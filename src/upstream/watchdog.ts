/**
 * One timer for the two clocks of an attempt: until the first content, then between events. Progress only notes the time;
 * the timer is set again when it fires, so that an event costs no timer.
 */
export class Watchdog {
  #bark: () => void;
  #due: number;
  #timer: NodeJS.Timeout | undefined;

  /** @param due monotonic milliseconds; @param bark called once, when `due` has passed */
  constructor(due: number, bark: () => void) {
    this.#due = due;
    this.#bark = bark;
    this.#arm();
  }

  /** From here on another is called. The timer stays: a new one with what is left of its time would be one of its kind. */
  passTo(bark: () => void): void {
    this.#bark = bark;
  }

  /** There was progress: the next is due at `due`. A later date costs nothing; an earlier one sets the timer anew. */
  extend(due: number): void {
    const isEarlier = due < this.#due;
    this.#due = due;
    if (isEarlier && this.#timer !== undefined) this.#arm();
  }

  stop(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
  }

  #arm(): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#fired(), Math.max(1, Math.ceil(this.#due - performance.now())));
  }

  #fired(): void {
    this.#timer = undefined;
    if (performance.now() < this.#due) this.#arm();
    else this.#bark();
  }
}
