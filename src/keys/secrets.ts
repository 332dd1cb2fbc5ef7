import {randomBytes} from 'node:crypto'
import {link, open, readFile, rename, rm} from 'node:fs/promises'
import {join} from 'node:path'
import {z} from 'zod'
import {type Config, ConfigError, makeDataDir} from '../config.ts'

/**
 * `sessionSecret` signs cookies; `masterKey`, 32 bytes, wraps every other key. `nextMasterKey`: a rotation that was cut off
 * may have come as far as this one.
 */
export type Secrets = {sessionSecret: string; masterKey: Buffer; nextMasterKey: Buffer | null}

const key = z.base64().refine((text) => Buffer.from(text, 'base64').length === 32)
const stored = z.object({sessionSecret: z.string().min(32), masterKey: key, nextMasterKey: key.optional()})

const hasCode = (error: unknown, code: string): boolean =>
  error instanceof Error && 'code' in error && error.code === code

/**
 * The secrets of the environment; what it does not give is made once and kept in `DATA_DIR/secrets.json` (mode 0600).
 * Throws ConfigError where that file is damaged or DATA_DIR can't be written: without the old secrets what they sealed is
 * lost, so nothing here ever replaces the file.
 */
export const loadSecrets = async (
  config: Pick<Config, 'dataDir' | 'sessionSecret' | 'masterKey'>,
): Promise<Secrets> => {
  const {sessionSecret, masterKey} = config
  const kept: z.output<typeof stored> =
    sessionSecret !== null && masterKey !== null ? {sessionSecret, masterKey} : await keep(config.dataDir)
  const next = masterKey === null ? kept.nextMasterKey : undefined
  return {
    sessionSecret: sessionSecret ?? kept.sessionSecret,
    masterKey: Buffer.from(masterKey ?? kept.masterKey, 'base64'),
    nextMasterKey: next === undefined ? null : Buffer.from(next, 'base64'),
  }
}

/** The same, but makes none: null where the first start is to make them. */
export const findSecrets = async (config: Parameters<typeof loadSecrets>[0]): Promise<Secrets | null> => {
  const isGiven = config.sessionSecret !== null && config.masterKey !== null
  return isGiven || (await read(join(config.dataDir, 'secrets.json'))) ? loadSecrets(config) : null
}

/** Before a rotation: the new key is kept beside the old one, so that neither is lost wherever it is cut off. */
export const keepNextMasterKey = (dataDir: string, next: Buffer): Promise<void> =>
  change(dataDir, (kept) => ({...kept, nextMasterKey: next.toString('base64')}))

/** After a rotation: this one is the key. */
export const settleMasterKey = (dataDir: string, masterKey: Buffer): Promise<void> =>
  change(dataDir, ({nextMasterKey, ...kept}) => ({...kept, masterKey: masterKey.toString('base64')}))

const change = async (
  dataDir: string,
  to: (kept: z.output<typeof stored>) => z.output<typeof stored>,
): Promise<void> => {
  const file = join(dataDir, 'secrets.json')
  const kept = await read(file)
  if (!kept) throw new ConfigError(`DATA_DIR holds no ${file}`)
  const temporary = `${file}.${randomBytes(8).toString('hex')}`
  await writeDurably(temporary, `${JSON.stringify(to(kept), null, 2)}\n`)
  await rename(temporary, file)
  await syncFolder(dataDir)
}

const keep = async (dataDir: string): Promise<z.output<typeof stored>> => {
  const file = join(dataDir, 'secrets.json')
  try {
    await makeDataDir({dataDir})
    return (await read(file)) ?? (await create(dataDir, file))
  } catch (error) {
    if (!(error instanceof Error && 'syscall' in error)) throw error
    throw new ConfigError(`DATA_DIR must be a folder that this user can read and write: ${error.message}`)
  }
}

const read = async (file: string): Promise<z.output<typeof stored> | null> => {
  const content = await readFile(file, 'utf8').catch((error: unknown) => {
    if (hasCode(error, 'ENOENT')) return null
    throw error
  })
  if (content === null) return null
  try {
    return stored.parse(JSON.parse(content))
  } catch {
    throw new ConfigError(
      `DATA_DIR holds a damaged ${file}: put it back from a backup, or set SESSION_SECRET and MASTER_KEY to what it held`,
    )
  }
}

const create = async (dataDir: string, file: string): Promise<z.output<typeof stored>> => {
  const fresh = {
    sessionSecret: randomBytes(48).toString('base64url'),
    masterKey: randomBytes(32).toString('base64'),
  }
  const temporary = `${file}.${randomBytes(8).toString('hex')}`
  try {
    await writeDurably(temporary, `${JSON.stringify(fresh, null, 2)}\n`)
    // Not rename, which replaces: of two processes that start at once, the second must take the first one's secrets.
    await link(temporary, file).catch((error: unknown) => {
      if (!hasCode(error, 'EEXIST')) throw error
    })
  } finally {
    await rm(temporary, {force: true})
  }
  await syncFolder(dataDir)
  return (await read(file))!
}

const writeDurably = async (file: string, content: string): Promise<void> => {
  const handle = await open(file, 'wx', 0o600)
  try {
    await handle.writeFile(content)
    await handle.sync()
  } finally {
    await handle.close()
  }
}

const syncFolder = async (folder: string): Promise<void> => {
  // Windows opens no folders.
  if (process.platform === 'win32') return
  const handle = await open(folder)
  try {
    await handle.sync()
  } finally {
    await handle.close()
  }
}
