import {readFile, stat, writeFile} from 'node:fs/promises'
import type {Sharp} from 'sharp'
import {type FileRefusal, TooManyImages} from './file.ts'
import {type ImageType, stripMetadata} from './stripMetadata.ts'

/** All frames of an animation together: whoever looks at it decodes them all. */
export const MAX_PIXELS = 50_000_000
/** Images that may wait for their turn; the next one is refused with {@link TooManyImages}. */
export const WAITING_IMAGES = 32
const SECONDS = 20

/**
 * Writes to `to` what `from` shows and nothing else, and gives its size. Metadata goes without touching the compressed
 * pixels; only an image that its EXIF turns is encoded again, upright: PNG without loss, JPEG and lossy WebP at a quality at
 * which the difference is not seen. The whole image is decoded once, so what is damaged is refused here and not shown as
 * half an image. An animation is never turned: no program writes one that asks for it.
 */
export const cleanImage = (from: string, to: string, type: ImageType): Promise<{bytes: number} | FileRefusal> =>
  inTurn(async () => {
    const sharp = await loadSharp()
    const reads = {failOn: 'error', limitInputPixels: MAX_PIXELS} as const
    try {
      const metadata = await sharp(from, {...reads, limitInputPixels: false}).metadata()
      const file = await readFile(from)
      const isLossless = file.includes('VP8L')
      const stripped = stripMetadata(file, type)
      if (!stripped) return damaged
      const {clean, frames} = stripped
      if (metadata.width * metadata.height * frames > MAX_PIXELS) return tooManyPixels
      if ((metadata.orientation ?? 1) > 1 && frames === 1) {
        const upright = sharp(from, reads).autoOrient().timeout({seconds: SECONDS})
        // Pixels of CMYK become RGB, so its profile would be wrong; any other profile is kept, and the pixels with it.
        if (metadata.space !== 'cmyk') upright.keepIccProfile()
        await encode(upright, type, {
          chromaSubsampling: metadata.chromaSubsampling === '4:2:0' ? '4:2:0' : '4:4:4',
          isProgressive: metadata.isProgressive === true,
          isLossless,
        }).toFile(to)
      } else {
        await writeFile(to, clean, {mode: 0o600})
        await sharp(to, {...reads, animated: true})
          .timeout({seconds: SECONDS})
          .resize(8, 8, {fit: 'fill'})
          .raw()
          .toBuffer()
      }
      return {bytes: (await stat(to)).size}
    } catch (error) {
      // sharp's errors are about the image and have no code; the file system's have one.
      if ((error as {code?: unknown}).code !== undefined) throw error
      return damaged
    }
  })

// 413 and not 400: its type is right, and a smaller version of it would be taken.
const tooManyPixels: FileRefusal = {refused: 'TOO_LARGE', why: 'must have at most 50 megapixels, all frames together'}
const damaged: FileRefusal = {refused: 'INVALID', why: 'is damaged: it can not be decoded whole'}

type Properties = {chromaSubsampling: string; isProgressive: boolean; isLossless: boolean}

const encode = (image: Sharp, type: ImageType, {chromaSubsampling, isProgressive, isLossless}: Properties): Sharp => {
  if (type === 'image/png') return image.png()
  if (type === 'image/webp') return image.webp({quality: 92, lossless: isLossless})
  return image.jpeg({quality: 92, chromaSubsampling, progressive: isProgressive})
}

/** One thread, no cache, and no reader but those of the allowed types. */
const loadSharp = async () => {
  const {default: sharp} = await import('sharp')
  sharp.concurrency(1)
  sharp.cache(false)
  sharp.block({operation: ['VipsForeignLoad']})
  sharp.unblock({
    operation: ['VipsForeignLoadJpeg', 'VipsForeignLoadPng', 'VipsForeignLoadNsgif', 'VipsForeignLoadWebp'],
  })
  return sharp
}

let last: Promise<unknown> = Promise.resolve()
let waiting = 0

/** One image at a time: a decoded one takes up to 200 MB. */
const inTurn = async <T>(work: () => Promise<T>): Promise<T> => {
  if (waiting > WAITING_IMAGES) throw new TooManyImages('too many images wait to be cleaned')
  waiting++
  const done = last.then(work, work).finally(() => waiting--)
  last = done.catch(() => {})
  return done
}
