import {randomUUID} from 'node:crypto'
import {open, rm, stat, statfs} from 'node:fs/promises'
import {dirname, join} from 'node:path'
import {type Finding, ok, problem, reasonOf, warning} from './finding.ts'

const MIB = 1024 * 1024
/** PostgreSQL stops where its disk is full; below this an hour of chat, or a rebuild, may fill it. */
const LITTLE = 2048 * MIB
const TOO_LITTLE = 256 * MIB

/** A folder that is not there yet stands for the nearest one above it, in which it will be made. */
export const checkFolder = async (name: string, folder: string): Promise<Finding[]> => {
  let there = folder
  while (!(await stat(there).catch(() => null))) there = dirname(there)
  const where = there === folder ? `${name} (${folder})` : `${name} (${folder}, which is not made yet)`
  const refusal = await tryToWrite(there)
  if (refusal !== null) {
    return [
      problem(
        `${where} can't be written: ${refusal}.`,
        `Give the server's user the right to write there, or set ${name} to another folder.`,
      ),
    ]
  }
  const {bavail, bsize} = await statfs(there)
  const free = bavail * bsize
  const text = `${where} can be written; ${tellSize(free)} are free.`
  const advice = 'Free space there, or move the folder to a larger disk.'
  return [free < TOO_LITTLE ? problem(text, advice) : free < LITTLE ? warning(text, advice) : ok(text)]
}

/** Only a file that was written shows it: neither permissions nor a superuser's rights tell of a disk that is read-only or full. */
const tryToWrite = async (folder: string): Promise<string | null> => {
  const probe = join(folder, `.doctor-${randomUUID()}`)
  try {
    const handle = await open(probe, 'wx', 0o600)
    await handle.writeFile('?')
    await handle.close()
    return null
  } catch (error) {
    return reasonOf(error).replace(/, \w+ '.*'$/, '')
  } finally {
    await rm(probe, {force: true}).catch(() => {})
  }
}

const tellSize = (bytes: number): string =>
  bytes < 1024 * MIB ? `${Math.floor(bytes / MIB)} MiB` : `${(bytes / MIB / 1024).toFixed(1)} GiB`
