import {domainToASCII} from 'node:url'

/** RFC 5321, section 4.5.3.1: 64 octets before the @, 254 for a whole address in a path of 256. */
const MAX_LOCAL = 64
const MAX_ADDRESS = 254

/**
 * An address as it is kept and compared: trimmed, NFC, lower case, and its domain as UTS-46 makes it; null for what is no
 * address. Nothing else is folded: dots and plus signs may mean something to the one who owns it.
 */
export const normaliseAddress = (value: string): string | null => {
  if (value.length > 1_000 || !value.isWellFormed()) return null
  const address = value.trim().normalize('NFC').toLowerCase()
  const at = address.lastIndexOf('@')
  const local = address.slice(0, at)
  const domain = address.slice(at + 1)
  // RFC 5322's dot-atom, with RFC 6531's letters beyond ASCII; no quoted strings.
  if (at < 1 || !/^[\p{L}\p{M}\p{N}!#$%&'*+/=?^_`{|}~-]+(\.[\p{L}\p{M}\p{N}!#$%&'*+/=?^_`{|}~-]+)*$/u.test(local))
    return null
  // What ends a host in a URL would cut the domain short; what is beyond ASCII is UTS-46's to judge.
  if (/[^a-z0-9.\u{80}-\u{10ffff}-]/u.test(domain)) return null
  const ascii = domainToASCII(domain)
  if (!/^([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z][a-z0-9-]{0,61}[a-z0-9]$/.test(ascii)) return null
  const normal = `${local}@${ascii}`
  return Buffer.byteLength(local) <= MAX_LOCAL && Buffer.byteLength(normal) <= MAX_ADDRESS ? normal : null
}
