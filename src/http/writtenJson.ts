import {etagOf} from './etag.ts'

/** An answer's body as it is sent, with its validator: what is sent again need not be written again. */
export type WrittenJson = {bytes: Buffer; etag: string}

/** `link`: the `Link` header beside it, which is part of what a client has. */
export const writeJson = (json: string, link: string | undefined): WrittenJson => {
  const bytes = Buffer.from(json)
  return {bytes, etag: etagOf(bytes, link ?? '')}
}
