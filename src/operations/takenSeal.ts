import {readFile} from 'node:fs/promises'
import type {Pool} from 'pg'
import {NotSealed, readSeal, type Seal} from '../proof/seal.ts'
import {lastSeal} from '../proof/sealLog.ts'

/** A seal that an auditor took away. */
export const readSealFile = async (file: string): Promise<Seal> => {
  const text = await readFile(file, 'utf8').catch((error: NodeJS.ErrnoException) => {
    throw new NotSealed(`${file} can not be read: ${error.code}.`)
  })
  return readSeal(text, file)
}

/** The seal in the file, or where none is named the last one made here; with its name for people. */
export const takenSeal = async (
  pool: Pool,
  identity: string | null,
  file: string | undefined,
): Promise<{seal: Seal; name: string}> => {
  if (file !== undefined) return {seal: await readSealFile(file), name: file}
  const name = 'The last seal made here'
  const kept = await lastSeal(pool, identity)
  if (kept === null) throw new NotSealed('No seal was made here yet: audit seal makes one, --seal names one.')
  return {seal: readSeal(kept, name), name}
}
