import {createHmac, randomBytes} from 'node:crypto'
import type {Pool} from 'pg'
import type {IdentityHash} from '../domain/identity.ts'
import type {Provider} from '../domain/user.ts'
import {base32} from './base32.ts'
import {seal, unseal} from './seal.ts'

export const KEYS_DDL = `
CREATE SCHEMA IF NOT EXISTS keys;
CREATE TABLE IF NOT EXISTS keys.secrets (name text PRIMARY KEY, wrapped bytea NOT NULL);
`

/** What MASTER_KEY can't open was wrapped by another: the start must stop, or it would make a second set of keys. */
export class WrongMasterKey extends Error {
  override name = 'WrongMasterKey'
  constructor() {
    super('MASTER_KEY does not open the keys in this database: give the key that they were made with')
  }
}

export type KeyStore = {
  /** The name of an identity's stream: HMAC-SHA-256 of provider and subject, in hex. Without the key nobody can test a guess. */
  identityHash(provider: Provider, subject: string): IdentityHash
  /** The id of what an Idempotency-Key creates: 128 bits in base32 of the HMAC of its parts. */
  repeatableId(...parts: string[]): string
  /** Derived from the keys: tells whether a log's keys are these. */
  readonly check: string
  /** Wraps the key of each person. MASTER_KEY wraps this one, so that a new MASTER_KEY is two rows and no more. */
  readonly wrappingKey: Buffer
  /** 32 bytes for one use, such as the queue of mails. */
  derive(use: string): Buffer
}

type Opening = {pool: Pool; masterKey: Buffer}
type SecretName = 'hash' | 'wrapping' | 'signing'

/** All at one moment: a rotation wraps them together. */
const readSecrets = async ({pool, masterKey}: Opening) => {
  const {rows} = await pool.query<{name: string; wrapped: Buffer}>('SELECT name, wrapped FROM keys.secrets')
  return (wanted: SecretName): Buffer | null => {
    const found = rows.find(({name}) => name === wanted)
    const opened = found ? unseal(masterKey, found.wrapped, wanted) : null
    if (found && !opened) throw new WrongMasterKey()
    return opened
  }
}

/** 32 random bytes in schema `keys`, wrapped by the master key; null where they were not made yet. */
export const findSecret = async (opening: Opening, name: SecretName): Promise<Buffer | null> =>
  (await readSecrets(opening))(name)

/** The same, made once, whoever comes first. */
export const openSecret = async ({pool, masterKey}: Opening, name: SecretName): Promise<Buffer> => {
  await pool.query(`INSERT INTO keys.secrets (name, wrapped) VALUES ($1, $2) ON CONFLICT DO NOTHING`, [
    name,
    seal(masterKey, randomBytes(32), name),
  ])
  return (await findSecret({pool, masterKey}, name))!
}

/** Opens the keys in schema `keys`, wrapped by the master key (32 bytes). Makes them once, whoever comes first. */
export const openKeyStore = async (opening: Opening): Promise<KeyStore> => {
  await openSecret(opening, 'hash')
  await openSecret(opening, 'wrapping')
  return (await findKeyStore(opening))!
}

/** The same, but makes none: null where they are not there yet. */
export const findKeyStore = async (opening: Opening): Promise<KeyStore | null> => {
  const secret = await readSecrets(opening)
  const hashKey = secret('hash')
  const wrappingKey = secret('wrapping')
  if (!hashKey || !wrappingKey) return null
  // Each use begins with its own word and every part with its length, so that no two inputs run together.
  const mac = (key: Buffer, use: string, parts: string[]) =>
    createHmac('sha256', key).update([use, ...parts].map((part) => `${Buffer.byteLength(part)}:${part}`).join(''))
  return {
    identityHash: (provider, subject) => mac(hashKey, 'identity', [provider, subject]).digest('hex') as IdentityHash,
    repeatableId: (...parts) => base32(mac(hashKey, 'id', parts).digest().subarray(0, 16)),
    check: mac(hashKey, 'check', []).digest('hex'),
    wrappingKey,
    derive: (use) => mac(wrappingKey, 'derive', [use]).digest(),
  }
}

/** Wraps the keys anew, all or none. A server that runs goes on with the keys that it holds; they stay the same. */
export const rewrapKeys = async (pool: Pool, from: Buffer, to: Buffer): Promise<void> => {
  const client = await pool.connect()
  try {
    await client.query('BEGIN')
    const {rows} = await client.query<{name: string; wrapped: Buffer}>(
      'SELECT name, wrapped FROM keys.secrets FOR UPDATE',
    )
    for (const {name, wrapped} of rows) {
      const secret = unseal(from, wrapped, name)
      if (!secret) throw new WrongMasterKey()
      await client.query('UPDATE keys.secrets SET wrapped = $2 WHERE name = $1', [name, seal(to, secret, name)])
    }
    await client.query('COMMIT')
    client.release()
  } catch (error) {
    client.release(true)
    throw error
  }
}
