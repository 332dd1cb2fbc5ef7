/** Text that reads the same though it is written differently: case, accents and vowel marks, width, ligatures. */
const fold = (text: string): string =>
  text
    .normalize('NFKD')
    .replace(/[\u0300-\u036f]|(?=\p{Mn})[\u0591-\u0670]|[\u00ad\u0640\u2060]|[\u200c-\u200d]|\ufe0f/gu, '')
    // Upper case first: ß is SS.
    .toUpperCase()
    .toLowerCase()
    .replaceAll('ς', 'σ')
    .normalize('NFC')

const UNSPACED = String.raw`[\p{scx=Han}\p{scx=Hira}\p{scx=Kana}\p{sc=Thai}\p{sc=Lao}\p{sc=Khmer}\p{sc=Mymr}]`
/** Runs of a script that puts no spaces between words, or of any other, or one picture. */
const RUN = new RegExp(
  String.raw`(?<unspaced>[${UNSPACED}&&[\p{L}\p{N}\p{M}]]+)|[[\p{L}\p{N}\p{M}_]--${UNSPACED}]+|\p{Extended_Pictographic}`,
  'gv',
)
// What most messages are, several times as fast.
const ASCII_RUN = /[a-z0-9_]+/g
const ASCII = /^\p{ASCII}*$/u
export const MAX_LENGTH = 100

/** A word, or two neighbours of a script without spaces. `last`: the character that a run of such a script ends with. */
export type Word = {text: string; last?: string}

/**
 * The words of a text, in any language, as a search compares them. Where a script has no spaces every two neighbours
 * are one, so that whatever is looked for is found as neighbours that follow each other.
 */
export const wordsOf = (text: string): Word[] => {
  const words: Word[] = []
  if (ASCII.test(text)) {
    for (const word of text.toLowerCase().match(ASCII_RUN) ?? []) words.push({text: word.slice(0, MAX_LENGTH)})
    return words
  }
  for (const {0: run, groups} of fold(text).matchAll(RUN)) {
    if (groups?.unspaced === undefined) {
      words.push({text: run.slice(0, MAX_LENGTH).toWellFormed()})
      continue
    }
    const letters = [...run]
    if (letters.length === 1) words.push({text: run, last: run})
    for (let at = 1; at < letters.length; at++) words.push({text: `${letters[at - 1]}${letters[at]}`})
    if (letters.length > 1) words.at(-1)!.last = letters.at(-1)!
  }
  return words
}
