import {randomUUID} from 'node:crypto'
import {mkdtemp, rm, writeFile} from 'node:fs/promises'
import {tmpdir} from 'node:os'
import {join} from 'node:path'
import type {Config} from '../../config.ts'
import {uploadKey} from '../../domain/upload.ts'
import {openOssStore, ossOrigin} from '../../uploads/ossStore.ts'
import {checkFolder} from './disk.ts'
import {type Finding, ok, problem, reasonOf, warning} from './finding.ts'

const ANSWER_MS = 5_000
const MEDIA_TYPE = 'application/pdf'

/** Where uploads go, and whether it takes them. */
export const checkStorage = async ({oss, dir}: Config['uploads']): Promise<Finding[]> => {
  if (oss) return checkOss(oss)
  if (dir !== null) return checkFolder('UPLOAD_DIR', dir)
  return [
    warning(
      'Uploads go nowhere: POST /api/upload answers 503.',
      'Set OSS_*, or UPLOAD_DIR where all nodes share a folder.',
    ),
  ]
}

/** As an upload and an erasure do it: a file of one byte is stored, read by its public address, and removed. */
const checkOss = async (oss: NonNullable<Config['uploads']['oss']>): Promise<Finding[]> => {
  const store = openOssStore(oss, {timeoutMs: ANSWER_MS, patienceMs: 0})
  // Below ali-oss, urllib prints what it throws as well.
  const {warn} = console
  console.warn = () => {}
  const folder = await mkdtemp(join(tmpdir(), 'community-doctor-'))
  const path = join(folder, 'file')
  const key = uploadKey(randomUUID(), MEDIA_TYPE, new Date().toISOString())
  try {
    await writeFile(path, '?')
    await store.put({path, mediaType: MEDIA_TYPE, bytes: 1}, key)
    const seen = await checkPublic(`${ossOrigin(oss)}/${key}`)
    await store.remove(key)
    return [ok(`The bucket ${oss.bucket} takes a file and lets it be removed.`), seen]
  } catch (error) {
    return [
      problem(
        `The bucket ${oss.bucket} at ${oss.endpoint} does not take a file, or does not let it be removed (${codeOf(error)}).`,
        'Look at OSS_*: the key needs the right to put and to delete objects under community/ of that bucket.',
      ),
    ]
  } finally {
    console.warn = warn
    await rm(folder, {recursive: true, force: true})
  }
}

const checkPublic = async (url: string): Promise<Finding> => {
  const advice = 'Let everybody read community/* of the bucket, by its policy or its ACL, or people see no pictures.'
  try {
    const {status} = await fetch(url, {signal: AbortSignal.timeout(ANSWER_MS)})
    return status === 200
      ? ok('What lies there can be read by everybody, as it must.')
      : problem(`What lies in the bucket can't be read by everybody: ${new URL(url).origin} answers ${status}.`, advice)
  } catch (error) {
    return warning(`Whether people can read what lies in the bucket is not known: ${reasonOf(error)}.`, advice)
  }
}

/** OSS's own words name the access key, so its code and status alone. */
const codeOf = (error: unknown): string => {
  const {code, status, name, cause} = error as {code?: unknown; status?: unknown; name?: unknown; cause?: unknown}
  if (cause !== undefined) return codeOf(cause)
  return [code ?? name, status]
    .filter((part) => part !== undefined && Number(part) !== -1 && Number(part) !== -2)
    .join(', ')
}
