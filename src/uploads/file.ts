import type {MediaType} from '../domain/upload.ts'

/** A file on this machine that is to be stored: checked and, if it is an image, clean. */
export type File = {path: string; mediaType: MediaType; bytes: number}

/** Why a file is not taken. `why` is for a person and reads on from "file". */
export type FileRefusal = {refused: 'NO_FILE' | 'TYPE_NOT_ALLOWED' | 'TOO_LARGE' | 'INVALID'; why?: string}

export const isFileRefusal = (value: object): value is FileRefusal => 'refused' in value

/** The disk or the bucket can't take the file now; nothing of it is there. */
export class StorageUnavailable extends Error {
  override name = 'StorageUnavailable'
}

/** More images wait to be cleaned than may. */
export class TooManyImages extends Error {
  override name = 'TooManyImages'
}
