import {randomUUID} from 'node:crypto'
import type {Response} from 'express'
import {z} from 'zod'
import {uploadFile} from '../commands/uploadFile.ts'
import {isRefusal} from '../domain/event.ts'
import {MediaType, mediaTypeOf, UploadKey, uploadKey} from '../domain/upload.ts'
import {ApiError, refused} from '../edge/errors.ts'
import type {Parts} from '../edge/parts.ts'
import {Ok} from '../edge/shapes.ts'
import {type FileRefusal, isFileRefusal} from '../uploads/file.ts'
import {CACHE_CONTROL, dispositionOf} from '../uploads/headers.ts'
import {MAX_BYTES} from '../uploads/receiveFile.ts'
import {takeFile} from '../uploads/takeFile.ts'
import {UPLOADS_PATH} from '../uploads/uploadUrls.ts'
import {type Route, route} from './route.ts'

export const uploadRoutes = ({execute, uploads, uploadUrls, config}: Parts): Route[] => [
  route({
    operationId: 'uploadFile',
    method: 'post',
    path: '/api/upload',
    summary: 'Takes a picture or a PDF, as multipart/form-data in the field "file"',
    description:
      'What it is is told by its content, not by its name. Pictures lose what tells where they were taken; those of more than 50 megapixels are refused.',
    auth: 'person',
    file: {field: 'file', types: MediaType.options, maxBytes: MAX_BYTES},
    answer: Ok.extend({url: z.string().describe('Where anybody can read the file, for the `attachments` of a post.')}),
    errors: ['NO_FILE', 'TYPE_NOT_ALLOWED', 'TOO_LARGE', 'BUSY', 'UPLOAD_NOT_CONFIGURED'],
    handle: async ({req, res, by, requestId}) => {
      if (!uploads) throw new ApiError('UPLOAD_NOT_CONFIGURED')
      return uploads.withFolder(async (folder) => {
        const file = await takeFile(req, res, folder)
        if (isFileRefusal(file)) throw refusedFile(file)
        const key = uploadKey(randomUUID(), file.mediaType, new Date().toISOString())
        const uploaded = await uploadFile({execute, store: uploads}, {by, file, key}, {correlationId: requestId})
        if (isRefusal(uploaded)) throw refused(uploaded)
        return {body: {ok: true, url: uploadUrls.urlOf(key)}, position: uploaded.position}
      })
    },
  }),
  route({
    operationId: 'readUpload',
    method: 'get',
    path: `${UPLOADS_PATH}*key`,
    summary: 'An uploaded file, where uploads are kept on disk',
    description: 'Its bytes never change, so it may be kept for ever. Ranges and conditions are answered.',
    auth: 'none',
    // The form of a key leaves no way to another file: no "..", no dotfile, no folder.
    params: z.object({
      key: z
        .array(z.string())
        .transform((parts) => parts.join('/'))
        .pipe(UploadKey),
    }),
    answer: {types: MediaType.options, ranges: true},
    errors: ['NOT_FOUND'],
    handle: async ({res, params: {key}}) => {
      if (config.uploads.dir === null) throw new ApiError('NOT_FOUND')
      await sendUpload(res, config.uploads.dir, key)
      return {}
    },
  }),
]

const refusedFile = ({refused, why}: FileRefusal): ApiError =>
  new ApiError(refused, why === undefined ? {} : {issues: [{path: 'file', message: why}]})

type Fault = Error & {code?: string; status?: number; headers?: Record<string, string>}

/** Ranges and conditions are Express's. What it refuses of them has no body: 412, or 416 with the size. */
const sendUpload = (res: Response, dir: string, key: UploadKey): Promise<void> =>
  new Promise((resolve, reject) => {
    const mediaType = mediaTypeOf(key)
    const headers = {
      'Content-Type': mediaType,
      'Content-Disposition': dispositionOf(mediaType),
      'Cache-Control': CACHE_CONTROL,
      'Content-Security-Policy': "default-src 'none'; sandbox",
      // Pages of CORS_ORIGINS show it too, and it is public anyway.
      'Cross-Origin-Resource-Policy': 'cross-origin',
      ETag: `"${key}"`,
    }
    res.sendFile(key, {root: dir, headers}, (error?: Fault) => {
      // Whoever went away before the first byte is nobody's fault.
      if (!error || res.headersSent || error.code === 'ECONNABORTED') return resolve()
      if (error.status === 404) return reject(new ApiError('NOT_FOUND'))
      if (error.status === undefined || error.status >= 500) return reject(error)
      res.status(error.status).set(error.headers ?? {})
      resolve()
    })
  })
