import {createReadStream} from 'node:fs'
import {setTimeout as pause} from 'node:timers/promises'
import type {Config} from '../config.ts'
import {StorageUnavailable} from './file.ts'
import {CACHE_CONTROL, dispositionOf} from './headers.ts'
import type {UploadStore} from './uploads.ts'

type Oss = NonNullable<Config['uploads']['oss']>

/** Whether OSS_ENDPOINT is OSS's own; else it is a domain bound to the bucket, and is not preceded by its name. */
const isOwnEndpoint = (endpoint: string): boolean => new URL(endpoint).hostname.endsWith('.aliyuncs.com')

/** Where everybody reads the bucket's files: the public endpoint, also where this server writes by the internal one. */
export const ossOrigin = ({endpoint, bucket}: Oss): string => {
  if (!isOwnEndpoint(endpoint)) return endpoint
  const {protocol, host} = new URL(endpoint)
  return `${protocol}//${bucket}.${host.replace('-internal.aliyuncs.com', '.aliyuncs.com')}`
}

/**
 * Files in a bucket of Alibaba Cloud OSS. What passes (no connection, no answer in `timeoutMs`, 5xx) is tried again while
 * `patienceMs` are not over; a refusal is not.
 */
export const openOssStore = (
  oss: Oss,
  {timeoutMs = 12_000, patienceMs = 20_000}: {timeoutMs?: number; patienceMs?: number} = {},
): UploadStore => {
  const connect = async () => {
    const {default: OSS} = await import('ali-oss')
    return new OSS({...oss, cname: !isOwnEndpoint(oss.endpoint), authorizationV4: true})
  }
  let client: ReturnType<typeof connect> | null = null
  const open = () => {
    client ??= connect()
    return client
  }

  const remove: UploadStore['remove'] = async (key) => {
    await (await open()).delete(key, {timeout: timeoutMs})
  }

  return {
    remove,
    put: async ({path, mediaType, bytes}, key) => {
      const oss = await open()
      const until = Date.now() + patienceMs
      for (let attempt = 1; ; attempt++) {
        const stream = createReadStream(path)
        try {
          await oss.putStream(key, stream, {
            contentLength: bytes,
            mime: mediaType,
            timeout: timeoutMs,
            headers: {'Cache-Control': CACHE_CONTROL, 'Content-Disposition': dispositionOf(mediaType)},
          } as Parameters<typeof oss.putStream>[2])
          return
        } catch (error) {
          if (isRefused(error)) throw new StorageUnavailable('OSS refused the file', {cause: error})
          if (Date.now() >= until) {
            // The last attempt may have arrived and its answer been lost.
            await remove(key).catch(() => {})
            throw new StorageUnavailable(`OSS did not take the file in ${attempt} attempts`, {cause: error})
          }
        } finally {
          stream.destroy()
        }
        await pause(Math.min(250 * 2 ** attempt, 2_000))
      }
    },
  }
}

/** An answer that would be the same again, such as 403 for a wrong key. Where there was none, ali-oss says -1 or -2. */
const isRefused = (error: unknown): boolean => {
  const {status} = error as {status?: unknown}
  return typeof status === 'number' && status >= 300 && status < 500 && status !== 429
}
