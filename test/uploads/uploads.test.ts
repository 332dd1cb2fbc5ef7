import {mkdir, mkdtemp, readdir, rm, utimes, writeFile} from 'node:fs/promises'
import {tmpdir} from 'node:os'
import {join} from 'node:path'
import {afterEach, beforeEach, describe, expect, it} from 'vitest'
import {readConfig} from '../../src/config.ts'
import {type UploadKey, uploadKey} from '../../src/domain/upload.ts'
import {StorageUnavailable} from '../../src/uploads/file.ts'
import {openUploads} from '../../src/uploads/uploads.ts'

const key = uploadKey('0b7d2c5e-8b4f-4d3c-9a55-2f1d1a3c4b5e', 'application/pdf', '2025-11-23T00:00:00.000Z')

describe('openUploads', () => {
  let dir: string
  beforeEach(async () => {
    dir = await mkdtemp(join(tmpdir(), 'uploads-'))
  })
  afterEach(() => rm(dir, {recursive: true}))

  const open = async () => (await openUploads(readConfig({UPLOAD_DIR: dir})))!

  const store = async (to: UploadKey): Promise<void> => {
    const uploads = await open()
    await uploads.withFolder(async (folder) => {
      const path = join(folder, 'received')
      await writeFile(path, '%PDF')
      await uploads.put({path, mediaType: 'application/pdf', bytes: 4}, to)
    })
  }

  it('puts files into folders by month, for this server alone, and removes them', async () => {
    await store(key)
    expect(await readdir(join(dir, 'community/2025/11'))).toEqual(['0b7d2c5e-8b4f-4d3c-9a55-2f1d1a3c4b5e.pdf'])
    expect(await readdir(join(dir, '.incoming'))).toEqual([])
    await (await open()).remove(key)
    await (await open()).remove(key)
    expect(await readdir(join(dir, 'community/2025/11'))).toEqual([])
  })

  it('says that it can not now where the disk does not take the file, and leaves nothing of it', async () => {
    await writeFile(join(dir, 'community'), 'a file where the folder should be')
    await expect(store(key)).rejects.toThrow(StorageUnavailable)
    expect(await readdir(join(dir, '.incoming'))).toEqual([])
    await rm(join(dir, '.incoming'), {recursive: true})
    await writeFile(join(dir, '.incoming'), 'likewise')
    await expect(open()).rejects.toThrow(/^UPLOAD_DIR must be a folder that this user can read and write/)
  })

  it('clears at its start what a killed process left, and not what another is still receiving', async () => {
    const incoming = join(dir, '.incoming')
    for (const name of ['file-old', 'file-young']) {
      await mkdir(join(incoming, name), {recursive: true})
      await writeFile(join(incoming, name, 'received'), '%PDF')
    }
    const twoHoursAgo = new Date(Date.now() - 7_200_000)
    await utimes(join(incoming, 'file-old'), twoHoursAgo, twoHoursAgo)
    await open()
    expect(await readdir(incoming)).toEqual(['file-young'])
  })

  it('is null where neither OSS nor a folder is configured', async () => {
    const config = readConfig({
      DATABASE_URL: 'postgres://localhost/x',
      SESSION_SECRET: 'x'.repeat(32),
      MASTER_KEY: Buffer.alloc(32).toString('base64'),
    })
    expect(await openUploads(config)).toBeNull()
  })
})
