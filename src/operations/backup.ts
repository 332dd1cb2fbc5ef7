import {createHash, type Hash} from 'node:crypto'
import {createReadStream, createWriteStream} from 'node:fs'
import {cp, mkdir, readdir, readFile, realpath, stat, writeFile} from 'node:fs/promises'
import {basename, dirname, join, relative, sep} from 'node:path'
import {Readable, Transform} from 'node:stream'
import {pipeline} from 'node:stream/promises'
import {isDeepStrictEqual} from 'node:util'
import {createGunzip, createGzip} from 'node:zlib'
import {Pool, type PoolClient} from 'pg'
import {z} from 'zod'
import type {Config} from '../config.ts'
import {makeTables, openLog} from '../foundation.ts'
import {appendInOrder} from '../log/appendInOrder.ts'
import type {EventLog, LogRecord} from '../log/eventLog.ts'
import {beginRestore, endRestore, UNFINISHED_TABLES, unfinishedRestore} from '../proof/unfinishedCopy.ts'
import {linesIn} from './linesIn.ts'
import {type Operator, WrongUsage} from './operator.ts'

const FORMAT = 1
const ROWS_AT_ONCE = 500

/** The schemas whose tables are in a backup, row by row. */
const COPIED = ['proof', 'state'] as const
type Copied = (typeof COPIED)[number]

const Manifest = z.object({
  format: z.literal(FORMAT),
  createdAt: z.string(),
  logIdentity: z.string(),
  events: z.int(),
  proof: z.record(z.string(), z.int()).default({}),
  state: z.record(z.string(), z.int()),
  uploads: z.int(),
  /** SHA-256 of each file, in hex. */
  files: z.record(z.string(), z.string()),
})
type Manifest = z.infer<typeof Manifest>

/** What can't be backed up or restored, in one line for the operator. */
export class BackupRefused extends Error {
  override name = 'BackupRefused'
}

/**
 * Log, seals with their hashes, schema `state` and uploads on disk, as JSON lines in gzip, each file with its hash in `manifest.json`, which is
 * written last: a backup without one is none. Keys go into a file of their own, or an erasure would not be one.
 */
export const backup = async (operator: Operator, dir: string, keysFile: string | null): Promise<Manifest> => {
  const {pool, log, logIdentity, config} = operator
  await mkdir(dir, {recursive: true, mode: 0o700})
  if ((await readdir(dir)).length > 0)
    throw new BackupRefused(`${dir} is not empty: a backup wants a folder of its own.`)
  if (keysFile !== null) await insistApart(dir, keysFile)
  const files: Manifest['files'] = {}
  const tables = async (schema: Copied) => {
    const rows: Manifest['state'] = {}
    for (const table of await tablesOf(pool, schema)) {
      const name = `${schema}.${table}`
      const lines = rowsOf(pool, name, (count) => (rows[table] = count))
      files[`${name}.ndjson.gz`] = await writeLines(join(dir, `${name}.ndjson.gz`), lines)
    }
    return rows
  }
  // Before the log, so that it holds what is sealed.
  const proof = await tables('proof')
  let events = 0
  files['log.ndjson.gz'] = await writeLines(
    join(dir, 'log.ndjson.gz'),
    linesOf(log, () => events++),
  )
  const state = await tables('state')
  const uploads =
    config.uploads.oss || config.uploads.dir === null ? 0 : await copyFolder(config.uploads.dir, join(dir, 'uploads'))
  if (keysFile !== null) await writeKeys(pool, keysFile)
  const createdAt = new Date().toISOString()
  const manifest = {format: FORMAT, createdAt, logIdentity, events, proof, state, uploads, files} as const
  await writeFile(join(dir, 'manifest.json'), `${JSON.stringify(manifest, null, 2)}\n`, {mode: 0o600})
  return manifest
}

/**
 * Into a database with no event in its log, no seal and nothing in `state`. Killed anywhere, it goes on when it is run again,
 * and until it has come to its end no server starts there. The read tables build themselves at the next start.
 */
export const restore = async (config: Config, url: string, dir: string, keysFile: string | null): Promise<Manifest> => {
  const {manifest, id} = await readManifest(dir)
  if (manifest.uploads > 0 && config.uploads.dir === null)
    throw new BackupRefused('The backup holds uploads: set UPLOAD_DIR for them.')
  const pool = new Pool({connectionString: url, max: 4})
  // An idle connection that broke, as all do when the database is stopped.
  pool.on('error', () => {})
  let log: EventLog | null = null
  try {
    await makeTables(pool, config)
    log = await openLog(config, url, () => {})
    const begun = await unfinishedRestore(pool)
    if (begun !== null && begun !== id)
      throw new BackupRefused(
        'A restore of another backup did not come to its end: run that again, or take another database.',
      )
    if (begun === null && (await log.head()) !== null)
      throw new BackupRefused('The log holds events: restore wants an empty database.')
    const names: string[] = []
    for (const schema of COPIED) {
      const known = await tablesOf(pool, schema)
      names.push(...known.filter((table) => table in manifest[schema]).map((table) => `${schema}.${table}`))
    }
    for (const name of names) {
      const {rows} = await pool.query(`SELECT FROM ${name} LIMIT 1`)
      if (rows.length > 0) throw new BackupRefused(`${name} holds rows: restore wants an empty database.`)
    }
    await inTransaction(pool, async (client) => {
      await beginRestore(client, id)
      if (keysFile !== null) await readKeys(client, keysFile)
    })
    let records: Omit<LogRecord, 'position'>[] = []
    for await (const line of readLines(join(dir, 'log.ndjson.gz'))) {
      records.push(JSON.parse(line))
      if (records.length === ROWS_AT_ONCE) {
        await appendInOrder(log, records)
        records = []
      }
    }
    await appendInOrder(log, records)
    if (config.uploads.dir !== null && manifest.uploads > 0) await copyFolder(join(dir, 'uploads'), config.uploads.dir)
    await inTransaction(pool, async (client) => {
      for (const name of names) await insertRows(client, name, join(dir, `${name}.ndjson.gz`))
      await endRestore(client)
    })
    return manifest
  } finally {
    await log?.close()
    await pool.end()
  }
}

const inTransaction = async (pool: Pool, work: (client: PoolClient) => Promise<void>): Promise<void> => {
  const client = await pool.connect()
  try {
    await client.query('BEGIN')
    await work(client)
    await client.query('COMMIT')
    client.release()
  } catch (error) {
    client.release(true)
    throw error
  }
}

const linesOf = async function* (log: EventLog, counted: () => void): AsyncGenerator<string> {
  for await (const records of log.readAll()) {
    for (const {stream, revision, id, type, data, metadata} of records) {
      counted()
      yield `${JSON.stringify({stream, revision, id, type, data, metadata})}\n`
    }
  }
}

/** What is of this place and this hour, and of no backup: who serves, and what is under way. */
const OF_THIS_PLACE = ['server_lease', ...UNFINISHED_TABLES]

const tablesOf = async (pool: Pool, schema: string): Promise<string[]> => {
  const {rows} = await pool.query<{name: string}>(
    // Unlogged ones hold what a crash may take.
    `SELECT relname AS name FROM pg_class WHERE relnamespace = $1::regnamespace AND relkind = 'r' AND relpersistence = 'p' ORDER BY 1`,
    [schema],
  )
  return rows.map(({name}) => name).filter((name) => !OF_THIS_PLACE.includes(name))
}

/** The rows as JSON, one snapshot, not all in memory at once. */
const rowsOf = async function* (pool: Pool, table: string, counted: (count: number) => void): AsyncGenerator<string> {
  const client = await pool.connect()
  let count = 0
  counted(0)
  try {
    await client.query('BEGIN READ ONLY')
    await client.query(`DECLARE rows CURSOR FOR SELECT row_to_json(t)::text AS line FROM ${table} t`)
    for (;;) {
      const {rows} = await client.query<{line: string}>(`FETCH ${ROWS_AT_ONCE} FROM rows`)
      if (rows.length === 0) return
      count += rows.length
      counted(count)
      for (const {line} of rows) yield `${line}\n`
    }
  } finally {
    await client.query('ROLLBACK').catch(() => {})
    client.release()
  }
}

const insertRows = async (client: PoolClient, table: string, file: string): Promise<void> => {
  let lines: string[] = []
  const insert = async () => {
    if (lines.length > 0)
      await client.query(`INSERT INTO ${table} SELECT * FROM json_populate_recordset(NULL::${table}, $1)`, [
        `[${lines.join(',')}]`,
      ])
    lines = []
  }
  for await (const line of readLines(file)) {
    lines.push(line)
    if (lines.length === ROWS_AT_ONCE) await insert()
  }
  await insert()
}

const hashing = (hash: Hash): Transform =>
  new Transform({
    transform: (chunk, _encoding, done) => {
      hash.update(chunk)
      done(null, chunk)
    },
  })

const writeLines = async (path: string, lines: AsyncGenerator<string>): Promise<string> => {
  const hash = createHash('sha256')
  await pipeline(Readable.from(lines), createGzip(), hashing(hash), createWriteStream(path, {mode: 0o600, flush: true}))
  return hash.digest('hex')
}

const readLines = (path: string): AsyncIterable<string> => linesIn(createReadStream(path).pipe(createGunzip()))

/** `id`: of this backup, and of no other. */
const readManifest = async (dir: string): Promise<{manifest: Manifest; id: string}> => {
  const text = await readFile(join(dir, 'manifest.json'), 'utf8').catch(() => null)
  if (text === null) throw new BackupRefused(`${dir} holds no manifest.json: it is no backup, or one that was cut off.`)
  const manifest = Manifest.safeParse(JSON.parse(text))
  if (!manifest.success) throw new BackupRefused(`${dir}/manifest.json is not of a backup that this version reads.`)
  for (const [file, expected] of Object.entries(manifest.data.files)) {
    const hash = createHash('sha256')
    await pipeline(createReadStream(join(dir, file)), hash)
    if (hash.digest('hex') !== expected)
      throw new BackupRefused(`${file} is not as it was written: the backup is damaged.`)
  }
  return {manifest: manifest.data, id: createHash('sha256').update(text).digest('hex')}
}

/** Files that are still coming in lie in a folder whose name begins with a dot: they are nobody's yet. */
const copyFolder = async (from: string, to: string): Promise<number> => {
  let files = 0
  const filter = async (path: string): Promise<boolean> => {
    if (path !== from && basename(path).startsWith('.')) return false
    if ((await stat(path)).isFile()) files++
    return true
  }
  await mkdir(from, {recursive: true})
  await cp(from, to, {recursive: true, preserveTimestamps: true, filter})
  return files
}

const insistApart = async (dir: string, keysFile: string): Promise<void> => {
  const isIn = (folder: string, path: string) => !relative(folder, path).split(sep).includes('..')
  // As named first: the folder that the file is to be in may not be there.
  if (isIn(dir, keysFile) || isIn(await realpath(dir), await realpath(dirname(keysFile))))
    throw new WrongUsage(`${keysFile} is inside the backup: the keys go elsewhere, or an erasure would not be one.`)
}

const KEY_TABLES = ['secrets', 'people']

const writeKeys = async (pool: Pool, file: string): Promise<void> => {
  const tables: {[table: string]: unknown[]} = {}
  for (const table of KEY_TABLES) {
    const {rows} = await pool.query<{row: unknown}>(`SELECT row_to_json(t) AS row FROM keys.${table} t`)
    tables[table] = rows.map(({row}) => row)
  }
  await writeFile(file, `${JSON.stringify({format: FORMAT, ...tables})}\n`, {mode: 0o600, flag: 'wx'})
}

/** Into a database that has none, or these. */
export const readKeys = async (db: Pick<Pool | PoolClient, 'query'>, file: string): Promise<void> => {
  const tables = JSON.parse(await readFile(file, 'utf8')) as {[table: string]: unknown[]}
  for (const table of KEY_TABLES) {
    const wanted = tables[table] ?? []
    const {rows} = await db.query<{row: unknown}>(`SELECT row_to_json(t) AS row FROM keys.${table} t`)
    if (
      rows.length > 0 &&
      !sameRows(
        rows.map(({row}) => row),
        wanted,
      )
    )
      throw new BackupRefused('This database has keys already: restore without --keys, or into another.')
    if (rows.length === 0)
      await db.query(`INSERT INTO keys.${table} SELECT * FROM json_populate_recordset(NULL::keys.${table}, $1)`, [
        JSON.stringify(wanted),
      ])
  }
}

const sameRows = (some: unknown[], others: unknown[]): boolean => {
  const lines = (rows: unknown[]) => rows.map((row) => JSON.stringify(row)).sort()
  return isDeepStrictEqual(lines(some), lines(others))
}
