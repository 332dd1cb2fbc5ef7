// A program: node decodeImage.ts <received> <stripped> <type> <frames>. Prints {} or a FileRefusal as JSON.
import sharp, {type Metadata, type Sharp} from 'sharp'
import type {FileRefusal} from './file.ts'
import type {ImageType} from './stripMetadata.ts'

/** All frames of an animation together: whoever looks at it decodes them all. */
const MAX_PIXELS = 50_000_000

const READ = {failOn: 'error', limitInputPixels: MAX_PIXELS} as const

// 413 and not 400: its type is right, and a smaller version of it would be taken.
const tooManyPixels: FileRefusal = {refused: 'TOO_LARGE', why: 'must have at most 50 megapixels, all frames together'}
const damaged: FileRefusal = {refused: 'INVALID', why: 'is damaged: it can not be decoded'}

/**
 * Decodes the image once, so that a damaged one is refused here and not shown as half an image. One that its EXIF turns is
 * written to `stripped` upright: PNG without loss, JPEG and WebP at a quality at which the difference is not seen. An
 * animation is never turned: no program writes one that asks for it.
 */
const decodeImage = async (received: string, stripped: string, type: ImageType, frames: number) => {
  try {
    const metadata = await sharp(received, {...READ, limitInputPixels: false}).metadata()
    if (metadata.width * metadata.height * frames > MAX_PIXELS) return tooManyPixels
    if ((metadata.orientation ?? 1) > 1 && frames === 1) {
      const upright = sharp(received, READ).autoOrient()
      // Pixels of CMYK become RGB, and its profile would be wrong. With another profile they keep their values.
      if (metadata.space !== 'cmyk') upright.keepIccProfile().toColourspace(metadata.space)
      await encode(upright, type, metadata).toFile(stripped)
    } else {
      await sharp(stripped, {...READ, animated: true})
        .resize(8, 8, {fit: 'fill'})
        .raw()
        .toBuffer()
    }
    return {}
  } catch {
    return damaged
  }
}

const encode = (image: Sharp, type: ImageType, {chromaSubsampling, isProgressive}: Metadata): Sharp => {
  if (type === 'image/png') return image.png()
  if (type === 'image/webp') return image.webp({quality: 92, smartSubsample: true})
  const chroma = chromaSubsampling === '4:2:0' ? '4:2:0' : '4:4:4'
  return image.jpeg({quality: 92, chromaSubsampling: chroma, progressive: isProgressive === true})
}

sharp.concurrency(1)
sharp.cache(false)
// No reader but those of the types that are allowed.
sharp.block({operation: ['VipsForeignLoad']})
sharp.unblock({
  operation: ['VipsForeignLoadJpeg', 'VipsForeignLoadPng', 'VipsForeignLoadNsgif', 'VipsForeignLoadWebp'],
})
const [received = '', stripped = '', type, frames] = process.argv.slice(2)
process.stdout.write(JSON.stringify(await decodeImage(received, stripped, type as ImageType, Number(frames))))
