import type {Config} from '../config.ts'
import {UploadKey} from '../domain/upload.ts'
import {ossOrigin} from './ossStore.ts'

const STORED = 'upload:'
export const UPLOADS_PATH = '/uploads/'

/** Between an upload's URL, which a client sends and gets, and its key, which is what events hold. */
export type UploadUrls = {
  urlOf(key: UploadKey): string
  /** The URL of an own upload, in any form this server gives or gave it, becomes `upload:<key>`; another stays as it is. */
  toStored(url: string): string
  toUrl(stored: string): string
}

/** `BASE_URL` and buckets change, events do not: each answer builds the URL by the configuration of now. */
export const openUploadUrls = ({baseUrl, uploads: {oss}}: Pick<Config, 'baseUrl' | 'uploads'>): UploadUrls => {
  const onDisk = `${baseUrl}${UPLOADS_PATH}`
  const inBucket = oss && `${ossOrigin(oss)}/`
  const prefixes = [onDisk, UPLOADS_PATH, inBucket].filter((prefix) => prefix !== null)
  const urlOf = (key: UploadKey): string => `${inBucket ?? onDisk}${key}`
  const keyAfter = (prefix: string, text: string): UploadKey | null =>
    (text.startsWith(prefix) && UploadKey.safeParse(text.slice(prefix.length)).data) || null
  return {
    urlOf,
    toStored: (url) => {
      for (const prefix of prefixes) {
        const key = keyAfter(prefix, url)
        if (key) return `${STORED}${key}`
      }
      return url
    },
    toUrl: (stored) => {
      const key = keyAfter(STORED, stored)
      return key ? urlOf(key) : stored
    },
  }
}
