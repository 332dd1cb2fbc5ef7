import {access, constants, mkdir, mkdtemp, readdir, rm, stat} from 'node:fs/promises'
import {join} from 'node:path'
import {type Config, ConfigError, makeFolder} from '../config.ts'
import type {UploadKey} from '../domain/upload.ts'
import {openDiskStore} from './diskStore.ts'
import {type File, StorageUnavailable} from './file.ts'
import {openOssStore} from './ossStore.ts'

export type UploadStore = {
  /** Whole or not at all. The file may be moved away. Throws {@link StorageUnavailable}. */
  put(file: File, key: UploadKey): Promise<void>
  /** No error where nothing lies there. */
  remove(key: UploadKey): Promise<void>
}

export type Uploads = UploadStore & {
  /** Runs `work` with a new folder for a file on its way in, which is deleted afterwards, however that ends. */
  withFolder<T>(work: (folder: string) => Promise<T>): Promise<T>
}

/** No upload takes this long; a folder that is older is of a process that was killed. */
const ABANDONED_MS = 3_600_000

/** Uploads to OSS where it is configured, else into `dir`; null where neither is. Cleans up what a killed process left. */
export const openUploads = async ({uploads: {oss, dir}, dataDir}: Config): Promise<Uploads | null> => {
  const store = oss ? openOssStore(oss) : dir !== null ? openDiskStore(dir) : null
  if (!store) return null
  // On the disk where the files will lie, for a file is moved only within one.
  const incoming = oss ? join(dataDir, 'incoming') : join(dir!, '.incoming')
  if (!oss) await makeWritable(incoming)
  await removeAbandoned(incoming)
  const stores = oss && dir !== null ? [store, openDiskStore(dir)] : [store]
  return {
    put: store.put,
    remove: async (key) => {
      // A server that changed to OSS has older files on its disk.
      for (const one of stores) await one.remove(key)
    },
    withFolder: async (work) => {
      let folder: string | null = null
      try {
        await mkdir(incoming, {recursive: true, mode: 0o700})
        folder = await mkdtemp(join(incoming, 'file-'))
        return await work(folder)
      } catch (error) {
        throw isDiskFault(error) ? new StorageUnavailable('the disk did not take the file', {cause: error}) : error
      } finally {
        if (folder !== null) await rm(folder, {recursive: true, force: true})
      }
    },
  }
}

const makeWritable = async (incoming: string): Promise<void> => {
  try {
    await makeFolder(incoming, 0o700)
    await access(incoming, constants.R_OK | constants.W_OK | constants.X_OK)
  } catch (error) {
    throw new ConfigError(`UPLOAD_DIR must be a folder that this user can read and write: ${(error as Error).message}`)
  }
}

const removeAbandoned = async (incoming: string): Promise<void> => {
  // Other nodes may share the folder, and be at work in it.
  const before = Date.now() - ABANDONED_MS
  for (const name of await readdir(incoming).catch(() => [])) {
    const folder = join(incoming, name)
    const {mtimeMs} = await stat(folder).catch(() => ({mtimeMs: Number.POSITIVE_INFINITY}))
    if (mtimeMs < before) await rm(folder, {recursive: true, force: true})
  }
}

const isDiskFault = (error: unknown): boolean =>
  /^(mkdir|mkdtemp|open|write|fsync|close|rename|stat)$/.test(String((error as {syscall?: unknown}).syscall))
