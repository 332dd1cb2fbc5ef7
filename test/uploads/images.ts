import {crc32} from 'node:zlib'
import sharp from 'sharp'

const GPS = {
  IFD0: {Copyright: 'Somebody'},
  IFD3: {
    GPSLatitudeRef: 'N',
    GPSLatitude: '51/1 30/1 3230/100',
    GPSLongitudeRef: 'W',
    GPSLongitude: '0/1 7/1 4366/100',
  },
}

/** 400 × 300, red on its left half and noisy on its right, with everything in it that a phone writes. */
export const photo = (
  format: 'jpeg' | 'png' | 'webp',
  {orientation = 1}: {orientation?: number} = {},
): Promise<Buffer> =>
  sharp({create: {width: 400, height: 300, channels: 3, background: 'red'}})
    .composite([{input: noise(), raw: {width: 200, height: 300, channels: 3}, left: 200, top: 0}])
    .withMetadata({orientation})
    .withIccProfile('p3')
    .withExifMerge(GPS)
    .withXmp('<x:xmpmeta xmlns:x="adobe:ns:meta/"><secret place="51.5N"/></x:xmpmeta>')
    .toFormat(format, {quality: 90})
    .toBuffer()

const noise = (): Buffer => {
  const pixels = Buffer.alloc(200 * 300 * 3)
  let state = 1
  for (let at = 0; at < pixels.length; at++) {
    state = (state * 48_271) % 2_147_483_647
    pixels[at] = 100 + (state % 56)
  }
  return pixels
}

export const DELAYS = [100, 200, 300, 400]

/** Four frames of 60 × 40 that are shown three times. */
export const animation = async (format: 'gif' | 'webp'): Promise<Buffer> => {
  const frames = await Promise.all(
    DELAYS.map((_, index) =>
      sharp({create: {width: 60, height: 40, channels: 4, background: {r: index * 60, g: 0, b: 0, alpha: 1}}})
        .png()
        .toBuffer(),
    ),
  )
  return sharp(frames, {join: {animated: true}})
    .withExif(GPS)
    .toFormat(format, {delay: DELAYS, loop: 3})
    .toBuffer()
}

/** The same frame as often as said. */
export const repeated = (gif: Buffer, frames: number): Buffer => {
  const at = 13 + 3 * 2 ** ((gif[10]! & 7) + 1)
  return Buffer.concat([gif.subarray(0, at), ...Array(frames).fill(gif.subarray(at, -1)), gif.subarray(-1)])
}

/** A GIF's comment extension, right before its trailer. */
export const withComment = (gif: Buffer, comment: string): Buffer =>
  Buffer.concat([gif.subarray(0, -1), Buffer.of(0x21, 0xfe, comment.length), Buffer.from(`${comment}\0;`)])

/** Animated where `frames` is more than one; each has its own fcTL, and all but the first an fdAT. */
export const animatedPng = async (frames: number, width = 60, height = 40): Promise<Buffer> => {
  const png = await sharp({create: {width, height, channels: 3, background: 'red'}})
    .png()
    .toBuffer()
  const at = png.indexOf('IDAT') - 4
  const length = png.readUInt32BE(at)
  const data = png.subarray(at + 8, at + 8 + length)
  let sequence = 0
  const control = () => {
    const fields = Buffer.alloc(26)
    fields.writeUInt32BE(sequence++, 0)
    fields.writeUInt32BE(width, 4)
    fields.writeUInt32BE(height, 8)
    fields.writeUInt16BE(1, 20)
    fields.writeUInt16BE(10, 22)
    return chunk('fcTL', fields)
  }
  const number = (value: number) => {
    const bytes = Buffer.alloc(4)
    bytes.writeUInt32BE(value)
    return bytes
  }
  const parts = [png.subarray(0, at), chunk('acTL', Buffer.concat([number(frames), number(0)])), control()]
  parts.push(png.subarray(at, at + 12 + length))
  for (let frame = 1; frame < frames; frame++) {
    parts.push(control(), chunk('fdAT', Buffer.concat([number(sequence++), data])))
  }
  return Buffer.concat([...parts, png.subarray(at + 12 + length)])
}

const chunk = (name: string, data: Buffer): Buffer => {
  const out = Buffer.alloc(data.length + 12)
  out.writeUInt32BE(data.length, 0)
  out.write(name, 4, 'latin1')
  data.copy(out, 8)
  out.writeUInt32BE(crc32(out.subarray(4, 8 + data.length)), 8 + data.length)
  return out
}

/** One colour, so that many pixels are few bytes. */
export const plain = (width: number, height: number, format: 'jpeg' | 'png' | 'gif' | 'webp'): Promise<Buffer> =>
  sharp({create: {width, height, channels: 3, background: '#123456'}})
    .toFormat(format)
    .toBuffer()

/** The pixels as they are stored, neither turned nor converted. */
export const pixelsOf = (image: Buffer): Promise<Buffer> =>
  sharp(image, {animated: true, ignoreIcc: true}).raw().toBuffer()

/** Bytes that begin as a PDF does, exactly so many. */
export const pdf = (bytes: number): Buffer => {
  const file = Buffer.alloc(bytes, 'padding ')
  file.write('%PDF-1.7\n')
  return file
}
