import type {MediaType} from '../domain/upload.ts'

/** A key is never used twice, so what lies there never changes. */
export const CACHE_CONTROL = 'public, max-age=31536000, immutable'

/** PDFs may hold scripts and forms, and no browser shows one inside a sandbox: they are saved, not shown. */
export const dispositionOf = (mediaType: MediaType): 'inline' | 'attachment' =>
  mediaType === 'application/pdf' ? 'attachment' : 'inline'
