import {type Failure, failureFrom, offline} from '../api.ts'
import {UPLOAD} from '../contract.ts'
import {size} from '../words.ts'

/** Why this file can not be uploaded, before it is tried. */
export const fileError = (file: File): string | null => {
  if (!UPLOAD.types.includes(file.type)) return 'Only JPG, PNG, GIF, WebP and PDF files can be attached.'
  if (file.size > UPLOAD.bytes) return `This file has ${size(file.size)}; at most 10 MB can be attached.`
  if (file.size === 0) return 'This file is empty.'
  return null
}

const ERRORS: Record<string, string> = {
  TOO_LARGE: 'This file is larger than 10 MB.',
  TYPE_NOT_ALLOWED: 'This is not really a JPG, PNG, GIF, WebP or PDF file.',
  UPLOAD_NOT_CONFIGURED: 'Files can not be attached on this server.',
  NOT_FOUND: 'Files can not be attached on this server.',
}

export type Upload = {done: Promise<string>; cancel: () => void}

/** One file; `done` gives its URL, or throws Failure. XMLHttpRequest, as fetch does not tell how far it is. */
export const upload = (file: File, onProgress: (share: number) => void): Upload => {
  const request = new XMLHttpRequest()
  const done = new Promise<string>((resolve, reject: (failure: Failure) => void) => {
    request.upload.addEventListener('progress', ({loaded, total}) => onProgress(total > 0 ? loaded / total : 0))
    request.addEventListener('error', () => reject(offline()))
    request.addEventListener('abort', () => reject(offline()))
    request.addEventListener('load', () => {
      const body = parsed(request.responseText)
      if (request.status === 200 && typeof body?.url === 'string') return resolve(body.url)
      const failure = failureFrom(body, Number(request.getResponseHeader('retry-after')) || null)
      if (ERRORS[failure.code]) failure.message = ERRORS[failure.code]!
      reject(failure)
    })
    const form = new FormData()
    form.append('file', file)
    request.open('POST', '/api/upload')
    request.send(form)
  })
  return {done, cancel: () => request.abort()}
}

const parsed = (text: string): {url?: unknown} | null => {
  try {
    return JSON.parse(text)
  } catch {
    return null
  }
}
