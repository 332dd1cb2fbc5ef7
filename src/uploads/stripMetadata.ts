import type {MediaType} from '../domain/upload.ts'

export type ImageType = Exclude<MediaType, 'application/pdf'>

/** libjpeg decodes the whole image for each scan; cameras and editors write a dozen. */
const MAX_SCANS = 100

type Keep = (from: number, to: number) => void
/** Keeps what shows the image, in ascending order, and counts the frames. Null: cut short, or not what it says it is. */
type Walk = (file: Buffer, keep: Keep) => number | null

/**
 * Takes out of an image, in place, all that does not change how it looks: EXIF, XMP, IPTC, comments, thumbnails and what
 * follows its end (phones put videos and second pictures with their own EXIF there). The compressed pixels stay as they are,
 * byte for byte, and so do the colour profile and an animation. What a chunk is allowed to be is listed, not what it is not.
 *
 * Gives the clean part of `file`, which it overwrites, or null where the file is damaged.
 */
export const stripMetadata = (file: Buffer, type: ImageType): {clean: Buffer; frames: number} | null => {
  let length = 0
  const frames = WALKS[type](file, (from, to) => {
    file.copyWithin(length, from, to)
    length += to - from
  })
  if (!frames) return null
  const clean = file.subarray(0, length)
  if (type === 'image/webp') clean.writeUInt32LE(length - 8, 4)
  return {clean, frames}
}

/** JPEG (ITU T.81, annex B): segments, and after each start of scan coded data up to the next marker. */
const walkJpeg: Walk = (file, keep) => {
  if (file.length < 4) return null
  keep(0, 2)
  let at = 2
  let scans = 0
  for (;;) {
    at = nextMarker(file, at)
    if (at === -1) return null
    const marker = file[at + 1]!
    if (marker === 0xd9) {
      keep(at, at + 2)
      return scans > 0 ? 1 : null
    }
    if (at + 4 > file.length) return null
    const end = at + 2 + file.readUInt16BE(at + 2)
    if (end > file.length) return null
    if (marker === 0xda) {
      if (++scans > MAX_SCANS) return null
      const next = nextMarker(file, end)
      if (next === -1) return null
      keep(at, next)
      at = next
      continue
    }
    if (isShownByJpeg(file, at, end)) keep(at, end)
    at = end
  }
}

/** Where the next marker begins that is no restart, stuffed byte or filling; -1: there is none. */
const nextMarker = (file: Buffer, from: number): number => {
  for (let at = file.indexOf(0xff, from); at !== -1; at = file.indexOf(0xff, at + 1)) {
    const code = file[at + 1]
    if (code === undefined) return -1
    if (code !== 0x00 && code !== 0xff && !(code >= 0xd0 && code <= 0xd7)) return at
  }
  return -1
}

const isShownByJpeg = (file: Buffer, at: number, end: number): boolean => {
  const marker = file[at + 1]!
  const begins = (name: string) => file.toString('latin1', at + 4, at + 4 + name.length) === name
  // Frame headers, tables, restart interval; not SOI (0xd8), which would be a second image.
  if ((marker >= 0xc0 && marker <= 0xcf) || (marker >= 0xdb && marker <= 0xdf)) return true
  // Of 18 bytes: one that is longer holds a thumbnail.
  if (marker === 0xe0) return begins('JFIF\0') && end - at === 18
  if (marker === 0xe2) return begins('ICC_PROFILE\0')
  return marker === 0xee && begins('Adobe')
}

const PNG_CHUNKS = new Set(
  'IHDR PLTE IDAT IEND tRNS gAMA cHRM sRGB iCCP cICP mDCV cLLI sBIT bKGD pHYs acTL fcTL fdAT'.split(' '),
)

/** PNG (W3C, third edition, section 5). */
const walkPng: Walk = (file, keep) => {
  keep(0, 8)
  let frames = 0
  for (let at = 8; at + 12 <= file.length; ) {
    const name = file.toString('latin1', at + 4, at + 8)
    const end = at + 12 + file.readUInt32BE(at)
    if (end > file.length) return null
    if (PNG_CHUNKS.has(name)) keep(at, end)
    if (name === 'fcTL') frames++
    if (name === 'IEND') return Math.max(1, frames)
    at = end
  }
  return null
}

/** GIF (89a, section 23 and following): blocks, each of sub-blocks that end with an empty one. */
const walkGif: Walk = (file, keep) => {
  const tableBytes = (flags: number) => (flags & 0x80 ? 3 * 2 ** ((flags & 7) + 1) : 0)
  const skip = (from: number): number => {
    let at = from
    while (at < file.length && file[at] !== 0) at += file[at]! + 1
    return at + 1
  }
  if (file.length < 14) return null
  let at = 13 + tableBytes(file[10]!)
  keep(0, Math.min(at, file.length))
  let frames = 0
  for (;;) {
    if (at >= file.length) return null
    const begin = at
    if (file[at] === 0x3b) {
      keep(at, at + 1)
      return frames
    }
    if (file[at] === 0x2c && at + 10 < file.length) {
      at = skip(at + 11 + tableBytes(file[at + 9]!))
      if (at > file.length) return null
      keep(begin, at)
      frames++
    } else if (file[at] === 0x21 && at + 2 < file.length) {
      at = skip(at + 2)
      if (at > file.length) return null
      const name = file.toString('latin1', begin + 3, begin + 14)
      const loops = file[begin + 1] === 0xff && (name === 'NETSCAPE2.0' || name === 'ANIMEXTS1.0')
      if (file[begin + 1] === 0xf9 || loops) keep(begin, at)
    } else return null
  }
}

const WEBP_CHUNKS = new Set(['VP8 ', 'VP8L', 'VP8X', 'ALPH', 'ANIM', 'ANMF', 'ICCP'])
const WEBP_HAS_EXIF_OR_XMP = 0x0c

/** WebP (RFC 9649, section 2): RIFF chunks, padded to an even size. */
const walkWebp: Walk = (file, keep) => {
  if (file.length < 20) return null
  const fileEnd = 8 + file.readUInt32LE(4)
  if (fileEnd > file.length) return null
  keep(0, 12)
  let images = 0
  for (let at = 12; at + 8 <= fileEnd; ) {
    const name = file.toString('latin1', at, at + 4)
    const size = file.readUInt32LE(at + 4)
    const end = at + 8 + size + (size & 1)
    if (end > fileEnd) return null
    if (name === 'VP8X' && size > 0) file[at + 8]! &= ~WEBP_HAS_EXIF_OR_XMP
    if (WEBP_CHUNKS.has(name)) keep(at, end)
    if (name === 'ANMF' || name === 'VP8 ' || name === 'VP8L') images++
    at = end
  }
  return images
}

const WALKS: {readonly [type in ImageType]: Walk} = {
  'image/jpeg': walkJpeg,
  'image/png': walkPng,
  'image/gif': walkGif,
  'image/webp': walkWebp,
}
