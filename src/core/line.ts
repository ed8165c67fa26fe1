/**
 * The waiting line of the gate, as p-queue's `queueClass`: by priority, then in order of arrival, with the position of each
 * place, which p-queue itself does not tell.
 */
export type Run = () => Promise<unknown>;

export interface PlaceOptions {
  readonly id?: string | undefined;
  readonly priority?: number | undefined;
}

interface Waiting {
  readonly id: string;
  priority: number;
  readonly run: Run;
}

export class Line {
  #waiting: Waiting[] = [];
  /** Positions by id, made when first asked for after a change. */
  #positions: Map<string, number> | undefined;

  get size(): number {
    return this.#waiting.length;
  }

  enqueue(run: Run, options?: PlaceOptions): void {
    const place = { id: options?.id ?? "", priority: options?.priority ?? 0, run };
    let index = this.#waiting.length;
    while (index > 0 && (this.#waiting[index - 1] as Waiting).priority < place.priority) index--;
    this.#waiting.splice(index, 0, place);
    this.#positions = undefined;
  }

  dequeue(): Run | undefined {
    this.#positions = undefined;
    return this.#waiting.shift()?.run;
  }

  filter(options: PlaceOptions): Run[] {
    return this.#waiting
      .filter((place) => place.priority === (options.priority ?? 0))
      .map((place) => place.run);
  }

  setPriority(id: string, priority: number): void {
    const place = this.#waiting.find((waiting) => waiting.id === id);
    if (place === undefined) throw new ReferenceError(`nothing waits under the id ${id}`);
    this.remove(id);
    this.enqueue(place.run, { id, priority });
  }

  remove(id: string): void {
    const index = this.#waiting.findIndex((place) => place.id === id);
    if (index === -1) return;
    this.#waiting.splice(index, 1);
    this.#positions = undefined;
  }

  /** 1 for the place that is next; undefined where nothing waits under that id. */
  position(id: string): number | undefined {
    this.#positions ??= new Map(this.#waiting.map((place, index) => [place.id, index + 1]));
    return this.#positions.get(id);
  }
}
