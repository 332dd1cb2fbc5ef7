import {describe, expect, it} from 'vitest'
import {MessageContent, Nonce} from '../../src/domain/chat.ts'
import {PostBody, Title} from '../../src/domain/post.ts'
import {RoomName} from '../../src/domain/room.ts'
import {storable, text} from '../../src/domain/text.ts'
import {Password, Username} from '../../src/domain/user.ts'

const accepts = (schema: {safeParse(value: unknown): {success: boolean}}, value: unknown): boolean =>
  schema.safeParse(value).success

describe('text', () => {
  const limits = {
    title: [Title, 200],
    body: [PostBody, 40_000],
    'room name': [RoomName, 100],
    username: [Username, 50],
    message: [MessageContent, 4_000],
    nonce: [Nonce, 64],
  } as const

  it.each(Object.entries(limits))(
    'lets a %s have as many characters as the contract says, and not one more',
    (_, of) => {
      const [schema, max] = of
      expect(accepts(schema, 'a')).toBe(true)
      expect(accepts(schema, 'a'.repeat(max))).toBe(true)
      expect(accepts(schema, 'a'.repeat(max + 1))).toBe(false)
    },
  )

  it('counts code points: an emoji of two UTF-16 units is one, a letter and its combining accent are two', () => {
    const short = text({max: 3})
    expect(accepts(short, '😀😀😀')).toBe(true)
    expect(accepts(short, '😀😀😀😀')).toBe(false)
    expect(accepts(short, 'e\u0301e')).toBe(true)
    expect(accepts(short, 'e\u0301e\u0301')).toBe(false)
  })

  it.each([
    ['nothing', ''],
    ['spaces', '   '],
    ['line ends and tabs', '\r\n\t'],
    ['a no-break space', '\u00a0'],
    ['an ideographic space', '\u3000'],
    ['a zero-width space', '\u200b'],
    ['a byte order mark', '\ufeff'],
    ['a soft hyphen', '\u00ad'],
    ['a control character', '\u0001'],
    ['a Hangul filler', '\u3164'],
  ])('takes %s for blank', (_, blank) => {
    for (const schema of [Title, RoomName, Username, MessageContent]) expect(accepts(schema, blank)).toBe(false)
    expect(accepts(PostBody, blank)).toBe(true)
  })

  it('trims nothing', () => {
    expect(Title.parse('  a ')).toBe('  a ')
    expect(accepts(Title, ` ${'a'.repeat(200)}`)).toBe(false)
  })

  it.each([
    ['NUL', 'a\0b'],
    ['half a surrogate pair, the first', 'a\ud83d'],
    ['half a surrogate pair, the second', '\ude00a'],
    ['a surrogate pair the wrong way round', '\ude00\ud83d'],
  ])('refuses %s, which not every reader of JSON takes', (_, value) => {
    for (const schema of [storable, Title, PostBody, RoomName, Username, MessageContent, Nonce, Password]) {
      expect(accepts(schema, value.padEnd(6, 'x'))).toBe(false)
      expect(accepts(schema, 'x'.repeat(6))).toBe(true)
    }
  })

  it.each([null, undefined, 1, {}, ['a']])('refuses %j, which is no text', (value) => {
    expect(accepts(Title, value)).toBe(false)
  })
})

describe('Password', () => {
  it('has at least 6 characters, however many bytes they take', () => {
    expect(accepts(Password, '12345')).toBe(false)
    expect(accepts(Password, '😀😀😀')).toBe(false)
    expect(accepts(Password, '123456')).toBe(true)
    expect(accepts(Password, '😀😀😀😀😀😀')).toBe(true)
  })

  it('has at most 72 bytes, because bcrypt reads no more', () => {
    expect(accepts(Password, 'a'.repeat(72))).toBe(true)
    expect(accepts(Password, 'a'.repeat(73))).toBe(false)
    expect(accepts(Password, 'é'.repeat(36))).toBe(true)
    expect(accepts(Password, 'é'.repeat(37))).toBe(false)
  })

  it('may be blank', () => {
    expect(accepts(Password, '      ')).toBe(true)
  })
})
