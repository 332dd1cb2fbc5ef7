import {join} from 'node:path'
import type {Request, Response} from 'express'
import {type MediaType, MediaType as MediaTypes} from '../domain/upload.ts'
import {cleanImage} from './cleanImage.ts'
import {type File, type FileRefusal, isFileRefusal} from './file.ts'
import {receiveFile} from './receiveFile.ts'

/** The request's file in `folder`, its type told by its content, and clean if it is an image. */
export const takeFile = async (req: Request, res: Response, folder: string): Promise<File | FileRefusal> => {
  const path = join(folder, 'received')
  const received = await receiveFile(req, res, path)
  if (isFileRefusal(received)) return received
  const mediaType = await typeByContent(path)
  if (mediaType === null) return {refused: 'TYPE_NOT_ALLOWED'}
  if (mediaType === 'application/pdf') return {path, mediaType, ...received}
  const clean = join(folder, 'clean')
  const cleaned = await cleanImage(path, clean, mediaType)
  return isFileRefusal(cleaned) ? cleaned : {path: clean, mediaType, ...cleaned}
}

const typeByContent = async (path: string): Promise<MediaType | null> => {
  const {fileTypeFromFile} = await import('file-type')
  const type = (await fileTypeFromFile(path))?.mime
  // An animated PNG is a PNG: who can't animate it shows its first frame.
  return MediaTypes.safeParse(type === 'image/apng' ? 'image/png' : type).data ?? null
}
