import {createWriteStream} from 'node:fs'
import {stat} from 'node:fs/promises'
import {pipeline} from 'node:stream/promises'
import type {Request, Response} from 'express'
import type {StorageEngine} from 'multer'
import type {FileRefusal} from './file.ts'

export const MAX_BYTES = 10_485_760
/** What multipart may add: boundaries, headers with a long file name, fields. */
const ENVELOPE_BYTES = 64 * 1024
const MAX_FIELDS = 50
const MAX_FIELD_BYTES = 16 * 1024

/**
 * Streams the one file of a multipart request, in the field `file`, to `path`, and gives its size. Other fields are ignored. What it writes of a
 * request that is refused or cut, the caller deletes: when this settles, nothing is written any more.
 */
export const receiveFile = async (
  req: Request,
  res: Response,
  path: string,
): Promise<{bytes: number} | FileRefusal> => {
  if (Number(req.headers['content-length'] ?? 0) > MAX_BYTES + ENVELOPE_BYTES) return tooLarge
  // Imported late, as all that only uploads need: a server that takes none does not pay for it.
  const {default: multer} = await import('multer')
  let writing: Promise<void> = Promise.resolve()
  const storage: StorageEngine = {
    _handleFile: (_req, {stream}, done) => {
      writing = pipeline(stream, createWriteStream(path, {flags: 'wx', mode: 0o600}))
      writing.then(() => done(null, {path}), done)
    },
    _removeFile: (_req, _file, done) => done(null),
  }
  const limits = {
    fileSize: MAX_BYTES,
    files: 1,
    fields: MAX_FIELDS,
    parts: MAX_FIELDS + 1,
    fieldNameSize: 100,
    fieldSize: MAX_FIELD_BYTES,
  }
  const receive = multer({storage, limits}).single('file')
  const error = await new Promise<unknown>((resolve) => receive(req, res, resolve))
  await writing.catch(() => {})
  if (error) return refusalOf(error)
  if (!req.file) return {refused: 'NO_FILE'}
  return {bytes: (await stat(path)).size}
}

const tooLarge: FileRefusal = {refused: 'TOO_LARGE', why: 'must have at most 10,485,760 bytes'}
const onlyOne: FileRefusal = {refused: 'INVALID', why: `must be one file, beside it at most ${MAX_FIELDS} short fields`}

const refusalOf = (error: unknown): FileRefusal => {
  const {code, syscall, field} = error as {code?: unknown; syscall?: unknown; field?: unknown}
  if (/^(open|write|close)$/.test(String(syscall))) throw error
  if (code === 'LIMIT_FILE_SIZE') return tooLarge
  if (code === 'LIMIT_UNEXPECTED_FILE' && field !== 'file') return {refused: 'NO_FILE'}
  if (/^(LIMIT|MISSING|INVALID)_/.test(String(code))) return onlyOne
  return {refused: 'INVALID', why: 'must come whole, as multipart/form-data with its boundary'}
}
