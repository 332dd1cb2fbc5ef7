import {Pool} from 'pg'
import type {Config} from './config.ts'
import {endSilent} from './database/endSilent.ts'
import {makeSchema} from './database/schema.ts'
import {LIMITS_DDL} from './edge/limits.ts'
import {PRESENCE_DDL} from './edge/presence.ts'
import {READ_MARKS_DDL} from './edge/readMarks.ts'
import {UNWRITTEN_DDL} from './edge/refusals.ts'
import {SESSIONS_DDL} from './edge/sessions.ts'
import {SIGNED_OUT_DDL} from './edge/signedOut.ts'
import {KEYS_DDL, type KeyStore, openKeyStore, WrongMasterKey} from './keys/keyStore.ts'
import {openPersonKeys, PERSON_KEYS_DDL, type PersonKeys} from './keys/personKeys.ts'
import {type Secrets, settleMasterKey} from './keys/secrets.ts'
import {type Codec, openCodec} from './log/codec.ts'
import type {EventLog} from './log/eventLog.ts'
import {openHistory} from './log/history.ts'
import {openPostgresLog} from './log/postgresLog.ts'
import {MAIL_QUEUE_DDL} from './mail/mailQueue.ts'
import {GENERATIONS_DDL} from './projections/generations.ts'
import {PROOF_DDL} from './proof/tiles.ts'
import {refuseUnfinished, UNFINISHED_COPY_DDL} from './proof/unfinishedCopy.ts'

const SCHEMA = [
  SESSIONS_DDL,
  SIGNED_OUT_DDL,
  READ_MARKS_DDL,
  PRESENCE_DDL,
  LIMITS_DDL,
  UNWRITTEN_DDL,
  MAIL_QUEUE_DDL,
  KEYS_DDL,
  PERSON_KEYS_DDL,
  GENERATIONS_DDL,
  PROOF_DDL,
  UNFINISHED_COPY_DDL,
]

export type Foundation = {
  url: string
  /** The one that opened the keys. */
  masterKey: Buffer
  pool: Pool
  keys: KeyStore
  personKeys: PersonKeys
  log: EventLog
  logIdentity: string
  codec: Codec
  close(): Promise<void>
}

type Trouble = (what: string, error: unknown) => void

/** Makes what is missing. Throws one line that names the variable where the database can't be used. */
export const makeTables = async (pool: Pool, {databaseUrl}: Pick<Config, 'databaseUrl'>): Promise<void> => {
  try {
    await makeSchema(pool, SCHEMA)
  } catch (error) {
    // Of several addresses of one name, each has its own error, and the whole none.
    const {message, code} = error as NodeJS.ErrnoException
    throw databaseUrl === null
      ? error
      : new Error(`DATABASE_URL names a database that can not be used: ${message || code}`)
  }
}

export const openLog = async (
  config: Pick<Config, 'eventStore'>,
  databaseUrl: string,
  onTrouble: Trouble,
  {makesSchema = true} = {},
): Promise<EventLog> => {
  if (!config.eventStore) return openPostgresLog({url: databaseUrl, onTrouble, makesSchema})
  const {openEventStoreDbLog} = await import('./log/eventStoreDbLog.ts')
  return openEventStoreDbLog({...config.eventStore, onTrouble})
}

/** With the master key, or with the one that a rotation got as far as before it was cut off. */
export const withMasterKey = async <T>(
  {dataDir}: Config,
  {masterKey, nextMasterKey}: Secrets,
  open: (masterKey: Buffer) => Promise<T>,
): Promise<T> => {
  try {
    return await open(masterKey)
  } catch (error) {
    if (!(error instanceof WrongMasterKey) || !nextMasterKey) throw error
    const opened = await open(nextMasterKey)
    await settleMasterKey(dataDir, nextMasterKey)
    return opened
  }
}

/** What the server and the command line both stand on: database, keys and log, checked to belong together. */
export const openFoundation = async (
  config: Config,
  {url, secrets, onTrouble}: {url: string; secrets: Secrets; onTrouble: Trouble},
): Promise<Foundation> => {
  const pool = new Pool({
    connectionString: url,
    application_name: 'community',
    max: 20,
    connectionTimeoutMillis: 3_000,
    keepAlive: true,
  })
  pool.on('connect', (client) => endSilent(client, 10_000))
  pool.on('error', (error) => {
    if (!pool.ending) onTrouble('a connection to the database was lost', error)
  })
  let opening: Promise<EventLog> | null = null
  const close = async () => {
    await (await opening?.catch(() => null))?.close()
    await pool.end()
  }
  try {
    await makeTables(pool, config)
    // Before keys are made that those of the copied log would meet.
    await refuseUnfinished(pool, config.eventStore ? 'eventstoredb' : 'postgres')
    opening = openLog(config, url, onTrouble)
    const [{keys, masterKey}, log] = await Promise.all([
      withMasterKey(config, secrets, async (masterKey) => ({keys: await openKeyStore({pool, masterKey}), masterKey})),
      opening,
    ])
    const personKeys = openPersonKeys({pool, wrappingKey: keys.wrappingKey})
    const codec = openCodec(personKeys)
    const logIdentity = await openHistory({log, codec, keyCheck: keys.check})
    return {url, masterKey, pool, keys, personKeys, log, logIdentity, codec, close}
  } catch (error) {
    await close().catch(() => {})
    throw error
  }
}
