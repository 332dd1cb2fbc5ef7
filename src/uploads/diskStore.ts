import {mkdir, open, rename, rm} from 'node:fs/promises'
import {dirname, join} from 'node:path'
import type {UploadStore} from './uploads.ts'

/** Files under `dir`. They appear there whole, by renaming, and outlive a power cut. */
export const openDiskStore = (dir: string): UploadStore => ({
  put: async ({path}, key) => {
    const to = join(dir, key)
    await sync(path)
    await mkdir(dirname(to), {recursive: true, mode: 0o700})
    await rename(path, to)
    await sync(dirname(to))
  },
  remove: (key) => rm(join(dir, key), {force: true}),
})

const sync = async (path: string): Promise<void> => {
  const handle = await open(path, 'r')
  try {
    await handle.sync()
  } finally {
    await handle.close()
  }
}
