import fc from 'fast-check'
import {describe, expect, it} from 'vitest'
import {normaliseAddress} from '../../src/mail/address.ts'

const expectAll = (cases: readonly (readonly [given: string, normal: string | null])[]) => {
  for (const [given, normal] of cases) expect(normaliseAddress(given), JSON.stringify(given)).toBe(normal)
}

describe('normaliseAddress', () => {
  it('trims, composes and lowers the case', () =>
    expectAll([
      ['Foo@Example.COM', 'foo@example.com'],
      [' \t\nfoo@example.com\u00a0', 'foo@example.com'],
      ['jose\u0301@example.com', 'jos\u00e9@example.com'],
      ['JOS\u00c9@example.com', 'jos\u00e9@example.com'],
      ['ΑΓΑΠΗ@example.com', 'αγαπη@example.com'],
    ]))

  it('leaves alone what means something to the one who owns it', () =>
    expectAll([
      ['a.b+tag@gmail.com', 'a.b+tag@gmail.com'],
      ['ab@googlemail.com', 'ab@googlemail.com'],
      ["o'brien_!#$%&*/=?^`{|}~-@example.com", "o'brien_!#$%&*/=?^`{|}~-@example.com"],
      ['ｆｏｏ@example.com', 'ｆｏｏ@example.com'],
      ['straße@example.com', 'straße@example.com'],
    ]))

  it('takes the domain as UTS-46 makes it', () =>
    expectAll([
      ['a@Bücher.Example', 'a@xn--bcher-kva.example'],
      ['a@bu\u0308cher.example', 'a@xn--bcher-kva.example'],
      ['a@xn--bcher-kva.example', 'a@xn--bcher-kva.example'],
      ['a@XN--BCHER-KVA.example', 'a@xn--bcher-kva.example'],
      ['a@faß.example', 'a@xn--fa-hia.example'],
      ['a@ｅｘａｍｐｌｅ.com', 'a@example.com'],
      ['a@example\u3002com', 'a@example.com'],
      ['a@example\uff0ecom', 'a@example.com'],
      ['a@exa\u00admple.com', 'a@example.com'],
      ['a@نامه\u200cای.com', 'a@xn--mgba3gch31f060k.com'],
      ['a@пример.рф', 'a@xn--e1afmkfd.xn--p1ai'],
    ]))

  it('refuses what is no address', () =>
    expectAll(
      [
        '',
        'a',
        '@',
        'a@',
        '@b.com',
        'a@b',
        'a@b.c',
        'a@@b.com',
        'a@b@c.com',
        'a b@example.com',
        'a@exa mple.com',
        '.a@example.com',
        'a.@example.com',
        'a..b@example.com',
        '"a b"@example.com',
        '"a"@example.com',
        'a(comment)@example.com',
        'Ann <a@example.com>',
        'a@example.com, b@example.com',
        'a@example.com\nb@example.com',
        'a\0@example.com',
        'a@example.com\0',
        'a\ud800@example.com',
        'a@1.2.3.4',
        'a@0x7f.1',
        'a@[::1]',
        'a@example.com:80',
        'a@example.com/path',
        'a@example.com?query',
        'a@example.com#hash',
        'a@example.com\\x',
        'a@exa%6dple.com',
        'a@user:x@example.com',
        'a@-example.com',
        'a@example-.com',
        'a@example..com',
        'a@.example.com',
        'a@example.com.',
        'a@exam_ple.com',
        'a@example.c_m',
        'a@℀.com',
        'a@ex\uff0fample.com',
        'a@\u2025.com',
        `a@${'b'.repeat(64)}.com`,
        'x'.repeat(1_001),
      ].map((given) => [given, null] as const),
    ))

  it('keeps the limits of SMTP in octets', () => {
    const local = 'é'.repeat(32)
    const domain = (length: number) => `${'b'.repeat(60)}.${'b'.repeat(60)}.${'b'.repeat(length - 122 - 4)}.com`
    expectAll([
      [`${local}@example.com`, `${local}@example.com`],
      [`${local}x@example.com`, null],
      [`${local}@${domain(189)}`, `${local}@${domain(189)}`],
      [`${local}@${domain(190)}`, null],
    ])
  })

  it('is stable: what it gives is what it gives of that', () => {
    const character = fc.oneof(
      fc.constantFrom('a', 'Z', '.', '+', '@', 'é', 'e\u0301', 'İ', 'ẞ', 'Σ', 'ς', '-', '1', ' ', '。', 'ｅ'),
      fc.string({unit: 'binary', minLength: 1, maxLength: 1}),
    )
    const part = fc.array(character, {minLength: 1, maxLength: 12}).map((all) => all.join(''))
    fc.assert(
      fc.property(part, part, fc.constantFrom('com', 'Рф', 'XN--P1AI'), (local, domain, top) => {
        const once = normaliseAddress(`${local}@${domain}.${top}`)
        if (once === null) return
        expect(normaliseAddress(once)).toBe(once)
        expect(normaliseAddress(` ${once.toUpperCase().toLowerCase()} `)).not.toBeNull()
        expect(once).toMatch(/^[^@\s]+@[a-z0-9.-]+$/)
      }),
      {numRuns: 5_000},
    )
  })
})
