import {z} from 'zod'
import {type Decision, type EventOf, eventType, refusal} from './event.ts'
import {type User, type UserEvent, UserId} from './user.ts'

/** What may be uploaded, and the extension of each. */
export const EXTENSIONS = {
  'image/jpeg': 'jpg',
  'image/png': 'png',
  'image/gif': 'gif',
  'image/webp': 'webp',
  'application/pdf': 'pdf',
} as const
export type MediaType = keyof typeof EXTENSIONS
export const MediaType = z.enum(Object.keys(EXTENSIONS) as [MediaType, ...MediaType[]])

/** `community/<yyyy>/<mm>/<uuid>.<ext>`: where the file lies in the bucket, or under UPLOAD_DIR. */
export const UploadKey = z
  .string()
  .regex(/^community\/\d{4}\/\d{2}\/[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\.(jpg|png|gif|webp|pdf)$/)
  .brand('UploadKey')
export type UploadKey = z.infer<typeof UploadKey>

/** `now` is an ISO time. */
export const uploadKey = (uuid: string, mediaType: MediaType, now: string): UploadKey =>
  UploadKey.parse(`community/${now.slice(0, 4)}/${now.slice(5, 7)}/${uuid}.${EXTENSIONS[mediaType]}`)

export const mediaTypeOf = (key: UploadKey): MediaType =>
  MediaType.options.find((type) => key.endsWith(`.${EXTENSIONS[type]}`))!

/**
 * In the person's own stream. The key says nothing about the person and is not encrypted, so that an erasure finds the
 * files when the person's key is destroyed already.
 */
export const FileUploaded = eventType('FileUploaded', {
  data: z.object({userId: UserId, key: UploadKey, mediaType: MediaType, bytes: z.int().positive()}),
  plain: ['userId', 'key', 'mediaType'],
})

/** Bots have no registration in their stream; a person who was erased meanwhile leaves no file. */
export const decideUpload = (user: User, upload: EventOf<typeof FileUploaded>['data']): Decision<UserEvent> =>
  user.kind === 'erased' ? refusal({refused: 'NOT_FOUND'}) : [{type: 'FileUploaded', data: upload}]
