import {mkdtemp, readFile, rm, writeFile} from 'node:fs/promises'
import {tmpdir} from 'node:os'
import {join} from 'node:path'
import sharp from 'sharp'
import {beforeAll, describe, expect, it} from 'vitest'
import {cleanImage} from '../../src/uploads/cleanImage.ts'
import {isFileRefusal} from '../../src/uploads/file.ts'
import {type ImageType, stripMetadata} from '../../src/uploads/stripMetadata.ts'
import {animatedPng, animation, DELAYS, photo, pixelsOf, plain, repeated, withComment} from './images.ts'

let folder: string
let files = 0
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'images-'))
  return () => rm(folder, {recursive: true})
})

const clean = async (image: Buffer, type: ImageType) => {
  const from = join(folder, String(files++))
  const to = `${from}.clean`
  await writeFile(from, image)
  const cleaned = await cleanImage(from, to, type)
  return isFileRefusal(cleaned) ? cleaned : {...cleaned, image: await readFile(to)}
}

const cleaned = async (image: Buffer, type: ImageType): Promise<Buffer> => {
  const result = await clean(image, type)
  if (isFileRefusal(result)) throw new Error(`refused: ${result.refused} ${result.why}`)
  expect(result.bytes).toBe(result.image.length)
  return result.image
}

const TRACES = /Exif|GPS|Somebody|secret|xmpmeta|http:\/\/ns\.adobe/

describe('cleanImage', () => {
  describe.each(['jpeg', 'png', 'webp'] as const)('of a %s photo', (format) => {
    const type: ImageType = `image/${format}`

    it('takes out EXIF with the location, and XMP, and leaves pixels and profile as they are', async () => {
      const image = await photo(format)
      expect(image.toString('latin1')).toMatch(TRACES)
      const result = await cleaned(image, type)
      expect(result.toString('latin1')).not.toMatch(TRACES)
      const {exif, xmp, icc, width, height} = await sharp(result).metadata()
      expect({exif, xmp, width, height}).toEqual({exif: undefined, xmp: undefined, width: 400, height: 300})
      expect(icc).toEqual((await sharp(image).metadata()).icc)
      expect((await pixelsOf(result)).equals(await pixelsOf(image))).toBe(true)
    })

    it('turns upright what EXIF turns, in the same colours and with no loss to be seen', async () => {
      const image = await photo(format, {orientation: 6})
      const result = await cleaned(image, type)
      expect(result.toString('latin1')).not.toMatch(TRACES)
      const {orientation, width, height, icc} = await sharp(result).metadata()
      expect({orientation, width, height}).toEqual({orientation: undefined, width: 300, height: 400})
      expect(icc).toEqual((await sharp(image).metadata()).icc)
      const before = await sharp(image, {ignoreIcc: true}).autoOrient().raw().toBuffer()
      const after = await pixelsOf(result)
      const squares = before.reduce((sum, value, at) => sum + (value - after[at]!) ** 2, 0)
      const decibels = 10 * Math.log10(255 ** 2 / (squares / before.length))
      expect(decibels).toBeGreaterThan(format === 'png' ? Number.MAX_VALUE : 33)
    })

    it('refuses one that is cut short, wherever that is', async () => {
      const image = await photo(format)
      for (const bytes of [1, 3, 100, Math.round(image.length / 2), image.length - 30]) {
        expect(await clean(image.subarray(0, image.length - bytes), type), `without ${bytes}`).toMatchObject({
          refused: 'INVALID',
        })
      }
    })
  })

  it('keeps 16 bits a channel when it turns', async () => {
    const deep = sharp(await photo('png', {orientation: 6}), {ignoreIcc: true}).toColourspace('rgb16')
    const image = await deep.withMetadata({orientation: 6}).png().toBuffer()
    const {depth, width} = await sharp(await cleaned(image, 'image/png')).metadata()
    expect({depth, width}).toEqual({depth: 'ushort', width: 300})
  })

  it('takes 50 megapixels and refuses one row more', async () => {
    const image = await plain(10_000, 5_000, 'jpeg')
    expect(await clean(image, 'image/jpeg')).toHaveProperty('bytes')
    image.writeUInt16BE(5_001, image.indexOf(Buffer.of(0xff, 0xc0)) + 5)
    expect(await clean(image, 'image/jpeg')).toEqual({
      refused: 'TOO_LARGE',
      why: 'must have at most 50 megapixels, all frames together',
    })
  })

  it.each(['gif', 'webp'] as const)('keeps frames, delays and loops of an animated %s', async (format) => {
    const image = format === 'gif' ? withComment(await animation(format), 'Somebody') : await animation(format)
    expect(image.toString('latin1')).toMatch(TRACES)
    const result = await cleaned(image, `image/${format}`)
    expect(result.toString('latin1')).not.toMatch(TRACES)
    const {pages, delay, loop} = await sharp(result, {animated: true}).metadata()
    expect({pages, delay, loop}).toEqual({pages: 4, delay: DELAYS, loop: 3})
    expect((await pixelsOf(result)).equals(await pixelsOf(image))).toBe(true)
    expect(await clean(image.subarray(0, -20), `image/${format}`)).toMatchObject({refused: 'INVALID'})
  })

  it('keeps the frames of an animated PNG', async () => {
    const image = await animatedPng(3)
    expect((await cleaned(image, 'image/png')).equals(image)).toBe(true)
  })

  it('counts the pixels of all frames', async () => {
    const frame = await plain(2_000, 2_000, 'gif')
    expect(await clean(repeated(frame, 2), 'image/gif')).toHaveProperty('bytes')
    expect(await clean(repeated(frame, 13), 'image/gif')).toMatchObject({refused: 'TOO_LARGE'})
    expect(await clean(await animatedPng(13, 2_000, 2_000), 'image/png')).toMatchObject({refused: 'TOO_LARGE'})
  })

  it('drops what follows the end of the picture', async () => {
    for (const [format, type] of [
      ['jpeg', 'image/jpeg'],
      ['png', 'image/png'],
      ['gif', 'image/gif'],
      ['webp', 'image/webp'],
    ] as const) {
      const image = await plain(20, 10, format)
      const second = Buffer.concat([image, await photo('jpeg'), Buffer.from('<script>')])
      expect((await cleaned(second, type)).length, format).toBeLessThanOrEqual(image.length)
    }
  })

  it('refuses damaged pixels and what only begins like an image', async () => {
    const png = await photo('png')
    png.fill(0xaa, png.indexOf('IDAT') + 200, png.indexOf('IDAT') + 400)
    expect(await clean(png, 'image/png')).toMatchObject({refused: 'INVALID'})
    for (const [bytes, type] of [
      [Buffer.from('ffd8ffe000104a4649460001ffda', 'hex'), 'image/jpeg'],
      [Buffer.from('ffd8ffd9', 'hex'), 'image/jpeg'],
      [Buffer.from('89504e470d0a1a0a', 'hex'), 'image/png'],
      [Buffer.from('GIF89a'), 'image/gif'],
      [Buffer.from('GIF89a\xff\xff\xff\xff\0\0\0;', 'latin1'), 'image/gif'],
      [Buffer.from('RIFF\xff\xff\xff\xffWEBPVP8 ', 'latin1'), 'image/webp'],
      [Buffer.from('RIFF\x0c\0\0\0WEBPVP8X\0\0\0\0', 'latin1'), 'image/webp'],
      [Buffer.concat([Buffer.from('89504e470d0a1a0affffffff', 'hex'), Buffer.alloc(100)]), 'image/png'],
    ] as const) {
      expect(await clean(bytes, type), bytes.toString('latin1')).toMatchObject({refused: 'INVALID'})
    }
  })
})

describe('stripMetadata', () => {
  it('refuses a JPEG of more than 100 scans: each is one more decoding of the whole', async () => {
    const image = await sharp(await plain(100, 100, 'png'))
      .jpeg({progressive: true})
      .toBuffer()
    const scan = image.subarray(image.lastIndexOf(Buffer.of(0xff, 0xda)), -2)
    const withScans = (more: number) =>
      Buffer.concat([image.subarray(0, -2), ...Array(more).fill(scan), image.subarray(-2)])
    expect(stripMetadata(withScans(80), 'image/jpeg')).not.toBeNull()
    expect(stripMetadata(withScans(100), 'image/jpeg')).toBeNull()
  })
})
