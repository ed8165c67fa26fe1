import { createHash, timingSafeEqual } from "node:crypto";
import { Fault } from "../core/errors.ts";

export interface NamedKey {
  readonly name: string;
  readonly key: string;
}

/** The owner of what is made without keys. */
export const NO_OWNER = "none";

const digest = (key: string): Buffer => createHash("sha256").update(key).digest();

/** The API keys, kept as digests only. */
export class Keys {
  readonly #known: readonly { readonly name: string; readonly digest: Buffer }[];

  constructor(keys: readonly NamedKey[]) {
    this.#known = keys.map(({ name, key }) => ({ name, digest: digest(key) }));
  }

  /** Whether a key must be shown. */
  get areSet(): boolean {
    return this.#known.length > 0;
  }

  /** The digest of the key of that name; undefined where there is none. */
  digestOf(name: string): Buffer | undefined {
    return this.#known.find((known) => known.name === name)?.digest;
  }

  /**
   * The name of the key in an `Authorization` header. Every key is compared, in constant time.
   * @throws Fault `invalid_api_key`
   */
  ownerOf(authorization: string | undefined): string {
    if (!this.areSet) return NO_OWNER;
    const given = digest(/^Bearer +(.+)$/i.exec(authorization ?? "")?.[1]?.trim() ?? "");
    let owner: string | undefined;
    for (const known of this.#known) if (timingSafeEqual(known.digest, given)) owner = known.name;
    if (owner === undefined) throw new Fault("invalid_api_key");
    return owner;
  }
}
