import {Icon} from '../ui/parts.tsx'
import {isWebAddress, UserLink} from '../ui/userText.tsx'

const UPLOADS = (document.querySelector<HTMLMetaElement>('meta[name=uploads]')?.content ?? '')
  .split(' ')
  .filter(Boolean)
const IMAGE = /\.(jpe?g|png|gif|webp)$/i

const isOwn = (url: string): boolean => UPLOADS.some((prefix) => url.startsWith(prefix))

export const isOwnImage = (url: string): boolean => isOwn(url) && IMAGE.test(url)

const nameOf = (url: string): string => {
  const {hostname, pathname} = new URL(url)
  const last = pathname.split('/').filter(Boolean).at(-1) ?? ''
  if (isOwn(url)) return `${last.split('.').at(-1)?.toUpperCase() ?? ''} file`.trim()
  return last ? `${hostname} / ${last}` : hostname
}

/** Own uploads that are images, in place; everything else is a link. Each has its room before it is there. */
export const Attachments = ({urls, title}: {urls: string[]; title: string}) => {
  const shown = [...new Set(urls)].filter(isWebAddress)
  const images = shown.filter(isOwnImage)
  const links = shown.filter((url) => !isOwnImage(url))
  return (
    <>
      {images.length > 0 && (
        <ul className={`images images-${Math.min(images.length, 3)}`}>
          {images.map((url, at) => (
            <li key={url}>
              <a href={url} target="_blank" rel="noopener noreferrer">
                <img
                  src={url}
                  alt={`${images.length === 1 ? 'Attachment' : `Attachment ${at + 1} of ${images.length}`} to “${title}”`}
                  loading="lazy"
                  decoding="async"
                />
              </a>
            </li>
          ))}
        </ul>
      )}
      {links.length > 0 && (
        <ul className="links">
          {links.map((url) => (
            <li key={url}>
              <UserLink url={url}>
                <Icon name={isOwn(url) ? 'file' : 'link'} />
                <span>{nameOf(url)}</span>
              </UserLink>
            </li>
          ))}
        </ul>
      )}
    </>
  )
}
