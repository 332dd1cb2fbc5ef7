import {describe, expect, it} from 'vitest'
import {wordsOf} from '../../src/domain/words.ts'

const words = (text: string) => wordsOf(text).map(({text, last}) => (last === undefined ? text : `${text}/${last}`))

describe('wordsOf', () => {
  it.each([
    ['Hello, World! v1.2 foo_bar', ['hello', 'world', 'v1', '2', 'foo_bar']],
    ['“Straße”—Ärger é', ['strasse', 'arger', 'e']],
    ['ΟΔΟΣ οδος', ['οδοσ', 'οδοσ']],
    ['ﬁne ｆｕｌｌ soft\u00adhyphen', ['fine', 'full', 'softhyphen']],
    ['東京都へiPhone漢', ['東京', '京都', '都へ/へ', 'iphone', '漢/漢']],
    ['ｶﾞｷﾞ', ['ガギ/ギ']],
    ['한국어', ['한국어']],
    ['🎉 ❤️', ['🎉', '❤']],
    ['… !', []],
    ['', []],
  ])('reads %s', (text, expected) => {
    expect(words(text)).toEqual(expected)
  })

  it('is the same however the text is composed, and of ASCII whichever way it goes', () => {
    const text = 'Žluťoučký kůň Ёж が 한국 the-end_1'
    expect(words(text.normalize('NFD'))).toEqual(words(text.normalize('NFC')))
    const ascii = Array.from({length: 128}, (_, code) => `a${String.fromCodePoint(code)}B`).join(' ')
    expect(words(`${ascii} é`)).toEqual([...words(ascii), 'e'])
  })

  it('cuts a word that is too long for an index', () => {
    expect(words('x'.repeat(5_000))).toEqual(['x'.repeat(100)])
    expect(words(`x${'𝒳𐍈'.repeat(500)}`)[0]!.isWellFormed()).toBe(true)
  })
})
