import {randomBytes} from 'node:crypto'
import {constants, readFileSync} from 'node:fs'
import {access, chmod, chown, mkdir, open, readdir, readFile, rename, rm, stat} from 'node:fs/promises'
import {dirname, join} from 'node:path'
import {postgresBinaries, postgresPackage} from './postgresBinaries.ts'
import {type Account, isRunning, run} from './processes.ts'

/**
 * A database on disk. `DATA_DIR/postgres` (0700, of the account that runs it) holds `data`, `password` and the socket;
 * `DATA_DIR/postgres.log` is ours. `account` is set where we are root, who may not run PostgreSQL.
 */
export type Cluster = {dataDir: string; folder: string; data: string; password: string; account?: Account}

export const clusterFolder = (dataDir: string) => join(dataDir, 'postgres')
export const readPassword = (dataDir: string) => readFile(join(clusterFolder(dataDir), 'password'), 'utf8')

const isRoot = process.getuid?.() === 0

/** Opens the cluster in `dataDir`, an absolute path, or makes it. Throws one line that says what to do. */
export const openCluster = async (dataDir: string): Promise<Cluster> => {
  await makeDataDir(dataDir)
  const folder = clusterFolder(dataDir)
  const owner = await stat(folder).catch(() => null)
  const account = isRoot ? (owner ? ownerOf(owner, folder) : unprivilegedAccount()) : undefined
  if (owner && !isRoot && process.getuid && owner.uid !== process.getuid()) {
    throw new Error(
      `${folder} belongs to another user (uid ${owner.uid}): start as that user, or set another DATA_DIR.`,
    )
  }
  const unreachable = account && (await run('/bin/sh', ['-c', 'cd -- "$1"', 'sh', dataDir], account))
  if (unreachable) {
    throw new Error(
      `The database runs as the user with uid ${account.uid}, who cannot reach ${dataDir} (${unreachable}): set DATA_DIR to a folder that every user can reach, such as /var/lib/community, or start as an ordinary user.`,
    )
  }
  if (!owner) await initialise(dataDir, account)
  await refuseOtherMajor(folder)
  const password = await readPassword(dataDir).catch(() => {
    throw new Error(`${folder} has no readable file "password": put it back from a backup, or move ${folder} away.`)
  })
  return {dataDir, folder, data: join(folder, 'data'), password, ...(account && {account})}
}

const makeDataDir = async (dataDir: string) => {
  try {
    await mkdir(dataDir, {recursive: true, mode: 0o711})
    await access(dataDir, constants.W_OK | constants.X_OK)
  } catch (error) {
    throw new Error(`${dataDir} cannot be made or written (${(error as Error).message}): set another DATA_DIR.`)
  }
  const {uid, mode} = await stat(dataDir)
  // A shared folder such as /tmp (sticky), or somebody else's, is not ours to close.
  if (uid === process.getuid?.() && !(mode & 0o1000)) await chmod(dataDir, 0o711)
}

const ownerOf = ({uid, gid}: Account, folder: string): Account => {
  if (uid !== 0) return {uid, gid}
  throw new Error(`${folder} belongs to root, who may not run PostgreSQL: chown it to the user "postgres" or "nobody".`)
}

const unprivilegedAccount = (): Account => {
  const users = readFileSync('/etc/passwd', 'utf8')
  for (const name of ['postgres', 'nobody']) {
    const [, uid, gid] = new RegExp(`^${name}:[^:]*:(-?\\d+):(-?\\d+):`, 'm').exec(users) ?? []
    // macOS writes nobody as -2.
    if (uid && gid) return {uid: Number(uid) >>> 0, gid: Number(gid) >>> 0}
  }
  throw new Error(
    'Root may not run PostgreSQL, and there is no user "postgres" or "nobody": start as an ordinary user.',
  )
}

const refuseOtherMajor = async (folder: string) => {
  const found = (await readFile(join(folder, 'data/PG_VERSION'), 'utf8').catch(() => '')).trim()
  const {major} = postgresPackage()
  if (found === major) return
  if (!found) throw new Error(`${folder} holds no PostgreSQL data that can be read: move it away.`)
  throw new Error(
    `${folder} holds data of PostgreSQL ${found}, this release brings ${major}: run "backup" with the release that wrote it, move ${folder} away, and "restore" with this one.`,
  )
}

/**
 * In a folder beside, renamed when it is whole and on disk: a start that was killed in the middle leaves nothing that
 * looks like a database, and of two starts at once one wins.
 */
const initialise = async (dataDir: string, account?: Account) => {
  const folder = clusterFolder(dataDir)
  const temporary = `${folder}.new-${process.pid}`
  await removeAbandoned(dataDir)
  const binaries = await postgresBinaries(dataDir, account)
  await mkdir(temporary, {mode: 0o700})
  const password = join(temporary, 'password')
  await writeDurably(password, randomBytes(24).toString('base64url'))
  if (account) {
    await chown(password, account.uid, account.gid)
    await chown(temporary, account.uid, account.gid)
  }
  const trouble = await run(
    join(binaries, 'initdb'),
    [
      ...['-D', join(temporary, 'data'), '--username=community', `--pwfile=${password}`, '--auth=scram-sha-256'],
      ...['--locale=C', '--encoding=UTF8', '--no-instructions'],
    ],
    account,
  )
  if (trouble) {
    await rm(temporary, {recursive: true, force: true})
    throw new Error(`PostgreSQL could not be initialised in ${dataDir}: ${trouble}`)
  }
  await syncFolder(temporary)
  await rename(temporary, folder).catch(async (error) => {
    if (error.code !== 'EEXIST' && error.code !== 'ENOTEMPTY') throw error
    await rm(temporary, {recursive: true, force: true})
  })
  await syncFolder(dirname(folder))
}

const removeAbandoned = async (dataDir: string) => {
  for (const name of await readdir(dataDir)) {
    const pid = Number(/^postgres\.new-(\d+)$/.exec(name)?.[1])
    if (!pid || (pid !== process.pid && isRunning(pid))) continue
    // The killed start's initdb may still be writing.
    await rm(join(dataDir, name), {recursive: true, force: true, maxRetries: 10, retryDelay: 50}).catch(() => {})
  }
}

const writeDurably = async (path: string, text: string) => {
  const file = await open(path, 'wx', 0o600)
  try {
    await file.writeFile(text)
    await file.sync()
  } finally {
    await file.close()
  }
}

const syncFolder = async (path: string) => {
  if (process.platform === 'win32') return
  const folder = await open(path, 'r')
  await folder.sync().finally(() => folder.close())
}
