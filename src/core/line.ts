/**
 * The waiting line of the gate, as p-queue's `queueClass`: keys take turns, a higher priority goes first, and a place whose
 * limits leave no room is passed over without holding up those behind it. It tells each place's position, which p-queue
 * itself does not.
 */
export type Run = () => Promise<unknown>;

export interface PlaceOptions {
  readonly id?: string | undefined;
  readonly priority?: number | undefined;
  /** Whose turn it takes. */
  readonly key?: string;
  /** Whether the place's own limits leave room now; without it, it has none of its own. */
  readonly canStart?: () => boolean;
}

interface Waiting {
  readonly id: string;
  readonly priority: number;
  readonly key: string;
  readonly canStart: (() => boolean) | undefined;
  readonly run: Run;
}

const canStart = (place: Waiting): boolean => place.canStart === undefined || place.canStart();

export class Line {
  /** By key, in the order in which the keys have their turns; each list by priority, then in order of arrival. */
  readonly #turns = new Map<string, Waiting[]>();
  #count = 0;
  /** How many of them have limits of their own: without any, nothing needs to be looked through. */
  #limited = 0;
  /** Positions by id, made when first asked for after a change. */
  #positions: Map<string, number> | undefined;

  /**
   * What p-queue takes for its size, so that it never asks for a place that may not start: 0 where none may, otherwise how
   * many wait.
   */
  get size(): number {
    if (this.#limited === 0 || this.#all().some(canStart)) return this.#count;
    return 0;
  }

  /** How many could start now. */
  get startable(): number {
    return this.#limited === 0 ? this.#count : this.#all().filter(canStart).length;
  }

  /** How many wait. */
  get depth(): number {
    return this.#count;
  }

  /** How many wait for a turn of that key. */
  depthOf(key: string): number {
    return this.#turns.get(key)?.length ?? 0;
  }

  enqueue(run: Run, options: PlaceOptions = {}): void {
    const { id = "", priority = 0, key = "", canStart } = options;
    const places = this.#turns.get(key) ?? [];
    if (places.length === 0) this.#turns.set(key, places);
    let index = places.length;
    while (index > 0 && (places[index - 1] as Waiting).priority < priority) index--;
    places.splice(index, 0, { id, priority, key, canStart, run });
    this.#changed(places[index] as Waiting, 1);
  }

  /** Takes out the place that is next among those that can start. */
  dequeue(): Run | undefined {
    let next: Waiting | undefined;
    for (const places of this.#turns.values()) {
      const place = places.find(canStart);
      if (place !== undefined && (next === undefined || place.priority > next.priority)) next = place;
    }
    if (next === undefined) return undefined;
    this.#take(next);
    // The key has had its turn.
    const rest = this.#turns.get(next.key);
    if (rest !== undefined) {
      this.#turns.delete(next.key);
      this.#turns.set(next.key, rest);
    }
    return next.run;
  }

  filter(options: PlaceOptions): Run[] {
    return this.#all()
      .filter(({ priority }) => priority === (options.priority ?? 0))
      .map(({ run }) => run);
  }

  setPriority(id: string, priority: number): void {
    const place = this.#all().find((waiting) => waiting.id === id);
    if (place === undefined) throw new ReferenceError(`nothing waits under the id ${id}`);
    this.#take(place);
    const { id: _id, run, canStart: may, ...rest } = place;
    this.enqueue(run, { ...rest, id, priority, ...(may === undefined ? {} : { canStart: may }) });
  }

  remove(id: string): void {
    const place = this.#all().find((waiting) => waiting.id === id);
    if (place !== undefined) this.#take(place);
  }

  /** 1 for the place that is next by the turns alone; undefined where nothing waits under that id. */
  position(id: string): number | undefined {
    this.#positions ??= new Map(this.#inTurns().map((place, index) => [place.id, index + 1]));
    return this.#positions.get(id);
  }

  #all(): Waiting[] {
    return [...this.#turns.values()].flat();
  }

  /** All places in the order in which the turns would take them. */
  #inTurns(): Waiting[] {
    const ranked: { place: Waiting; round: number; turn: number }[] = [];
    let turn = 0;
    for (const places of this.#turns.values()) {
      places.forEach((place, round) => {
        ranked.push({ place, round, turn });
      });
      turn++;
    }
    ranked.sort((a, b) => b.place.priority - a.place.priority || a.round - b.round || a.turn - b.turn);
    return ranked.map(({ place }) => place);
  }

  #take(place: Waiting): void {
    const places = this.#turns.get(place.key) ?? [];
    places.splice(places.indexOf(place), 1);
    if (places.length === 0) this.#turns.delete(place.key);
    this.#changed(place, -1);
  }

  #changed(place: Waiting, by: number): void {
    this.#count += by;
    if (place.canStart !== undefined) this.#limited += by;
    this.#positions = undefined;
  }
}
