import type { Generation } from "../core/generation.ts";

/** One chat's latest answer. */
export interface ChatAnswer {
  readonly generation: Generation;
  /** The id of the message that the answer becomes or goes on with. */
  readonly messageId: string;
}

/**
 * Which generation is the latest of a chat, for as long as it runs or is retained. Chats are their owner's: the same id under
 * another key is another chat. A generation stands for one chat, so there are never more chats than generations.
 */
export class Chats {
  readonly #answers = new Map<string, ChatAnswer>();
  /** The names by generation id, to forget them by. */
  readonly #names = new Map<string, string>();

  latest(owner: string, chat: string): ChatAnswer | undefined {
    return this.#answers.get(nameOf(owner, chat));
  }

  keep(owner: string, chat: string, answer: ChatAnswer): void {
    this.forget(answer.generation);
    const name = nameOf(owner, chat);
    const earlier = this.#answers.get(name);
    if (earlier !== undefined) this.forget(earlier.generation);
    this.#answers.set(name, answer);
    this.#names.set(answer.generation.id, name);
  }

  forget({ id }: Generation): void {
    const name = this.#names.get(id);
    if (name === undefined) return;
    this.#names.delete(id);
    this.#answers.delete(name);
  }
}

const nameOf = (owner: string, chat: string): string => `${owner}\n${chat}`;
