import type {AnchorHTMLAttributes, MouseEvent} from 'react'
import {createStore, useStore} from './store.ts'

export type Place = {path: string; search: string}

const here = (): Place => ({path: window.location.pathname, search: window.location.search})
const place = createStore<Place>(here())
let moved = false

window.addEventListener('popstate', () => {
  moved = true
  place.set(here())
})

export const usePlace = (): Place => useStore(place)

/** Whether a page was left for this one, so that the focus belongs to its heading. */
export const hasMoved = (): boolean => moved

export const navigate = (to: string, {replace = false} = {}): void => {
  if (replace) window.history.replaceState(null, '', to)
  else window.history.pushState(null, '', to)
  moved = true
  place.set(here())
  if (!replace) window.scrollTo(0, 0)
}

/** Takes these out of the address, so that neither a reload nor the history brings them again. */
export const dropQuery = (...names: string[]): void => {
  const query = new URLSearchParams(window.location.search)
  for (const name of names) query.delete(name)
  const rest = query.toString()
  window.history.replaceState(null, '', window.location.pathname + (rest ? `?${rest}` : ''))
  place.set(here())
}

type LinkProps = AnchorHTMLAttributes<HTMLAnchorElement> & {to: string}

export const Link = ({to, onClick, ...props}: LinkProps) => {
  const follow = (event: MouseEvent<HTMLAnchorElement>) => {
    onClick?.(event)
    if (
      event.defaultPrevented ||
      event.button !== 0 ||
      event.metaKey ||
      event.ctrlKey ||
      event.shiftKey ||
      event.altKey
    )
      return
    event.preventDefault()
    navigate(to)
  }
  return <a href={to} onClick={follow} {...props} />
}
