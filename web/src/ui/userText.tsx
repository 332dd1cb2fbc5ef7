import type {ReactNode} from 'react'
import {ERASED} from '../contract.ts'
import {Link} from '../router.tsx'

const URLS = /\bhttps?:\/\/[^\s<>"'`。、「」『』（）《》【】，；：！？]+/gi

/** Sentence marks at its end are not the address's; a closing bracket is only where it was opened in it. */
const trimmed = (found: string): string => {
  let url = found.replace(/[.,;:!?…]+$/, '')
  while (url.endsWith(')') && (url.match(/\)/g) ?? []).length > (url.match(/\(/g) ?? []).length) {
    url = url.slice(0, -1).replace(/[.,;:!?…]+$/, '')
  }
  return url
}

export const isWebAddress = (url: string): boolean => {
  try {
    return /^https?:$/.test(new URL(url).protocol)
  } catch {
    return false
  }
}

/** An address that somebody wrote. Never anything but http and https is a link. */
export const UserLink = ({url, children = url}: {url: string; children?: ReactNode}) => {
  if (!isWebAddress(url)) return <>{children}</>
  const {origin, pathname, search} = new URL(url)
  if (origin === window.location.origin && /^\/(posts|rooms)\//.test(pathname)) {
    return <Link to={pathname + search}>{children}</Link>
  }
  return (
    <a href={url} target="_blank" rel="noopener noreferrer nofollow ugc">
      {children}
    </a>
  )
}

/** What somebody wrote: text, with addresses in it as links, and nothing else. */
export const UserText = ({text}: {text: string}) => {
  if (text === ERASED) return <span className="erased">{text}</span>
  const parts: ReactNode[] = []
  let from = 0
  for (const match of text.matchAll(URLS)) {
    const url = trimmed(match[0])
    if (!isWebAddress(url)) continue
    if (match.index > from) parts.push(text.slice(from, match.index))
    // An address reads from left to right, whatever stands around it.
    parts.push(
      <bdi key={match.index} dir="ltr">
        <UserLink url={url} />
      </bdi>,
    )
    from = match.index + url.length
  }
  parts.push(text.slice(from))
  return <>{parts}</>
}
