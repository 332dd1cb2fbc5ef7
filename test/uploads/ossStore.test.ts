import {mkdtemp, rm, writeFile} from 'node:fs/promises'
import {tmpdir} from 'node:os'
import {join} from 'node:path'
import {beforeAll, describe, expect, it} from 'vitest'
import type {UploadKey} from '../../src/domain/upload.ts'
import {type File, StorageUnavailable} from '../../src/uploads/file.ts'
import {openOssStore, ossOrigin} from '../../src/uploads/ossStore.ts'
import {pdf} from './images.ts'
import {OSS, type OssPeer, type Play, startOssPeer} from './ossPeer.ts'

const key = 'community/2025/11/0b7d2c5e-8b4f-4d3c-9a55-2f1d1a3c4b5e.pdf' as UploadKey
const BYTES = 300_000

let folder: string
let file: File
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'oss-'))
  file = {path: join(folder, 'file'), mediaType: 'application/pdf', bytes: BYTES}
  await writeFile(file.path, pdf(BYTES))
  return () => rm(folder, {recursive: true})
})

const account = {
  region: OSS.OSS_REGION,
  bucket: OSS.OSS_BUCKET,
  accessKeyId: OSS.OSS_ACCESS_KEY_ID,
  accessKeySecret: OSS.OSS_ACCESS_KEY_SECRET,
}
const storeAt = (
  peer: Pick<OssPeer, 'url'>,
  {patienceMs = 20_000, ...of}: {patienceMs?: number; accessKeySecret?: string} = {},
) => openOssStore({...account, endpoint: peer.url, ...of}, {timeoutMs: 1_000, patienceMs})

describe('openOssStore', () => {
  it('puts the file there, signed, with its type and for ever', async () => {
    const peer = await startOssPeer()
    await storeAt(peer).put(file, key)
    const {body, headers} = peer.objects.get(key)!
    expect(body.equals(pdf(BYTES))).toBe(true)
    expect(headers).toMatchObject({
      'content-type': 'application/pdf',
      'content-length': String(BYTES),
      'content-disposition': 'attachment',
      'cache-control': 'public, max-age=31536000, immutable',
    })
    await storeAt(peer).put({...file, mediaType: 'image/png'}, key)
    expect(peer.objects.get(key)!.headers).toMatchObject({'content-type': 'image/png', 'content-disposition': 'inline'})
  })

  it('removes it', async () => {
    const peer = await startOssPeer()
    await storeAt(peer).put(file, key)
    await storeAt(peer).remove(key)
    await storeAt(peer).remove(key)
    expect([...peer.objects]).toEqual([])
  })

  it.each<Play>(['busy', 'broken', 'cut', 'lose', 'silent'])('tries again when OSS is %s', async (play) => {
    const peer = await startOssPeer()
    peer.plays.push(play)
    await storeAt(peer).put(file, key)
    expect(peer.requests).toEqual([`PUT ${key}`, `PUT ${key}`])
    expect(peer.objects.get(key)!.body).toHaveLength(BYTES)
  })

  it('gives up in time, and leaves nothing of which the answer was lost', async () => {
    const peer = await startOssPeer()
    peer.plays.push(...Array<Play>(20).fill('lose'))
    const began = performance.now()
    await expect(storeAt(peer, {patienceMs: 1_000}).put(file, key)).rejects.toThrow(StorageUnavailable)
    expect(performance.now() - began).toBeLessThan(10_000)
    expect(peer.requests.length).toBeGreaterThan(2)
    expect(peer.requests.at(-1)).toBe(`DELETE ${key}`)
    expect([...peer.objects]).toEqual([])
  })

  it('gives up where nobody answers at all', async () => {
    const {url} = await startOssPeer()
    const store = storeAt({url: url.replace(/\d+$/, '1')}, {patienceMs: 500})
    await expect(store.put(file, key)).rejects.toThrow(StorageUnavailable)
  })

  it('does not try again what OSS refuses', async () => {
    const peer = await startOssPeer()
    const refused = storeAt(peer, {accessKeySecret: 'another'}).put(file, key)
    await expect(refused).rejects.toMatchObject({name: 'StorageUnavailable', cause: {code: 'SignatureDoesNotMatch'}})
    expect(peer.requests).toEqual([`PUT ${key}`])
    expect([...peer.objects]).toEqual([])
  })
})

describe('ossOrigin', () => {
  const originAt = (endpoint: string) => ossOrigin({...account, bucket: 'b', endpoint})

  it('is the bucket at the public endpoint, or the domain that is bound to it', () => {
    expect(originAt('https://oss-cn-hangzhou.aliyuncs.com')).toBe('https://b.oss-cn-hangzhou.aliyuncs.com')
    expect(originAt('https://oss-cn-hangzhou-internal.aliyuncs.com')).toBe('https://b.oss-cn-hangzhou.aliyuncs.com')
    expect(originAt('https://files.example.org')).toBe('https://files.example.org')
    expect(originAt('http://127.0.0.1:9000')).toBe('http://127.0.0.1:9000')
  })
})
