import type {Command} from 'commander'
import {Pool} from 'pg'
import {pino} from 'pino'
import {type Config, makeDataDir, readConfig} from '../config.ts'
import {findEmbeddedPostgres, startEmbeddedPostgres} from '../database/embeddedPostgres.ts'
import {isLeasedToAnother} from '../database/serverLease.ts'
import {isServed} from '../edge/presence.ts'
import {type Feed, openFeed} from '../feed.ts'
import {type Foundation, makeTables, openFoundation, openLog, withMasterKey} from '../foundation.ts'
import {findKeyStore, findSecret, openSecret} from '../keys/keyStore.ts'
import {loadSecrets} from '../keys/secrets.ts'
import type {EventLog} from '../log/eventLog.ts'
import {type SigningKey, signingKeyOf} from '../proof/signingKey.ts'
import {refuseUnfinished} from '../proof/unfinishedCopy.ts'
import {writeOut} from './output.ts'

/** The command was called in a way that it does not know: exit status 2. */
export class WrongUsage extends Error {
  override name = 'WrongUsage'
}

export type Operator = Foundation & {config: Config}

/** What a command tells: lines for people, or with `--json` one document. */
export type Report = {json: unknown; text: string; failed?: boolean}

/** The database of a server that runs, or of none: then the embedded one is started, and stopped after the command. */
export const openDatabase = async (config: Config): Promise<{url: string; close(): Promise<void>}> => {
  if (config.databaseUrl !== null) return {url: config.databaseUrl, close: async () => {}}
  const running = await findEmbeddedPostgres({dataDir: config.dataDir})
  if (running) return {url: running.url, close: async () => {}}
  await makeDataDir(config)
  const logger = pino({level: 'silent'})
  const onExit = (reason: string) => process.stderr.write(`${reason}\n`)
  const started = await startEmbeddedPostgres({dataDir: config.dataDir, logger, onExit})
  return {url: started.url, close: () => started.stop()}
}

/** Opens database, keys and log, does the work, and closes them again, whatever came of it. */
export const withOperator = async <T>(work: (operator: Operator) => Promise<T>): Promise<T> => {
  const config = readConfig(process.env)
  const secrets = await loadSecrets(config)
  const database = await openDatabase(config)
  try {
    const onTrouble = (what: string) => process.stderr.write(`${what}\n`)
    const foundation = await openFoundation(config, {url: database.url, secrets, onTrouble})
    try {
      return await work({...foundation, config})
    } finally {
      await foundation.close()
    }
  } finally {
    await database.close()
  }
}

export type LogKeeper = {
  config: Config
  pool: Pool
  log: EventLog
  /** Of the keys in this database: a log that was begun with them says the same. Null: there are none. */
  readKeyCheck(): Promise<string | null>
  /** Whether a server runs on this database. */
  isServed(): Promise<boolean>
  /** Made where it is not there yet. */
  signingKey(): Promise<SigningKey>
  /** The public key of the one that is there. */
  publicKey(): Promise<string | null>
}

/**
 * The log as it is stored, and what proves it: for that nobody's keys are needed, and none are made. `mayBeUnfinished`: it may
 * be the part of a copy.
 */
export const withLog = async <T>(
  work: (keeper: LogKeeper) => Promise<T>,
  {mayBeUnfinished = false} = {},
): Promise<T> => {
  const config = readConfig(process.env)
  const secrets = await loadSecrets(config)
  const database = await openDatabase(config)
  const pool = new Pool({connectionString: database.url, application_name: 'community', max: 4})
  pool.on('error', () => {})
  let log: EventLog | null = null
  try {
    await makeTables(pool, config)
    log = await openLog(config, database.url, (what) => process.stderr.write(`${what}\n`))
    if (!mayBeUnfinished) await refuseUnfinished(pool, log.adapter)
    return await work({
      config,
      pool,
      log,
      readKeyCheck: () =>
        withMasterKey(config, secrets, async (masterKey) => (await findKeyStore({pool, masterKey}))?.check ?? null),
      isServed: async () => (await isServed(pool)) || (await isLeasedToAnother(database.url)),
      signingKey: () =>
        withMasterKey(config, secrets, async (masterKey) =>
          signingKeyOf(await openSecret({pool, masterKey}, 'signing')),
        ),
      publicKey: () =>
        withMasterKey(config, secrets, async (masterKey) => {
          const secret = await findSecret({pool, masterKey}, 'signing')
          return secret && signingKeyOf(secret).publicKey
        }),
    })
  } finally {
    await log?.close()
    await pool.end()
    await database.close()
  }
}

/** The same, with remembered state and read tables: fed by the server that runs, or by this process where none does. */
export const withFeed = <T>(work: (operator: Operator & Feed) => Promise<T>): Promise<T> =>
  withOperator(async (operator) => {
    const logger = pino({level: 'warn'}, pino.destination(2))
    const feed = openFeed(operator, {logger, onFatal: (reason) => process.stderr.write(`${reason}\n`)})
    await feed.start()
    try {
      return await work({...operator, ...feed})
    } finally {
      await feed.stop()
    }
  })

/** Ties a command to its work: prints the report, and sets exit status 0 or 1. */
export const reports = <A extends unknown[]>(command: Command, work: (...args: A) => Promise<Report>): Command =>
  command.option('--json', 'print one JSON document').action(async (...args: unknown[]) => {
    const {json, text, failed = false} = await work(...(args as A))
    const asJson = command.opts<{json?: boolean}>().json === true
    await writeOut([asJson ? `${JSON.stringify(json, null, 2)}\n` : text === '' ? '' : `${text}\n`])
    if (failed) process.exitCode = 1
  })

/** Rows in columns as wide as their widest cell. */
export const columns = (rows: readonly (readonly string[])[]): string => {
  const widths = (rows[0] ?? []).map((_, column) => Math.max(...rows.map((row) => row[column]?.length ?? 0)))
  return rows
    .map((row) =>
      row
        .map((cell, column) => cell.padEnd(widths[column]!))
        .join('  ')
        .trimEnd(),
    )
    .join('\n')
}

/** Progress goes to stderr, and only to a terminal. */
export const isWatched = (): boolean => process.stderr.isTTY === true
