import {type ReactNode, useEffect, useState} from 'react'
import {ask, type Failure, nextPage, toFailure} from '../api.ts'
import type {SearchResult} from '../contract.ts'
import {postPath} from '../posts/postCard.tsx'
import {roomPath} from '../rooms/roomList.tsx'
import {Link} from '../router.tsx'
import {session} from '../session.ts'
import {useStore} from '../store.ts'
import {Button, Dialog, FailureNote, Field, Name, When} from '../ui/parts.tsx'
import {plural} from '../words.ts'

const TYPING_MS = 250
const EXCERPT = 220

type Found = {results: SearchResult[]; next: string | null}
/** What was looked for last, so that one result after the other can be looked at. */
let last = ''

/** Posts, and what was said in one's rooms, by words. */
export const SearchDialog = ({onClose}: {onClose: () => void}) => {
  const {status} = useStore(session)
  const [text, setText] = useState(last)
  const [found, setFound] = useState<Found | null>(null)
  const [busy, setBusy] = useState(false)
  const [failure, setFailure] = useState<Failure | null>(null)
  const words = text.toLowerCase().match(/[\p{L}\p{M}\p{N}]+/gu) ?? []

  const look = async (page: string, signal?: AbortSignal) => {
    setBusy(true)
    setFailure(null)
    try {
      const {body, headers} = await ask<{results: SearchResult[]}>('GET', page, undefined, signal ? {signal} : {})
      const before = (now: Found | null) => (signal ? [] : (now?.results ?? []))
      setFound((now) => ({results: [...before(now), ...body.results], next: nextPage(headers)}))
    } catch (error) {
      if (signal?.aborted) return
      setFailure(toFailure(error))
    }
    setBusy(false)
  }

  // biome-ignore lint/correctness/useExhaustiveDependencies: only what is typed begins another search
  useEffect(() => {
    last = text
    if (text.trim() === '') return setFound(null)
    const typed = new AbortController()
    const timer = setTimeout(() => void look(`/api/search?q=${encodeURIComponent(text)}`, typed.signal), TYPING_MS)
    return () => {
      clearTimeout(timer)
      typed.abort()
    }
  }, [text])

  const count = found?.results.length ?? 0
  return (
    <Dialog title="Search" onClose={onClose}>
      <Field
        label={status === 'in' ? 'Posts, and messages in your rooms' : 'Posts'}
        type="search"
        autoComplete="off"
        enterKeyHint="search"
        maxLength={200}
        value={text}
        onChange={(event) => setText(event.target.value)}
        data-first
        dir="auto"
      />
      <div className="found" aria-busy={busy || undefined}>
        <p className="hint" role="status">
          {!found
            ? 'All the words you enter are looked for; “several words” in quotation marks as they stand.'
            : count === 0
              ? 'Nothing found. Try fewer words, or only how they begin.'
              : `${plural(count, 'result')}${found.next ? ', and more' : ''}`}
        </p>
        {failure && <FailureNote failure={failure} />}
        <ul>
          {found?.results.map((result) => (
            <li key={result.kind === 'post' ? result.post.id : result.message.id}>
              <Result result={result} words={words} onFollow={onClose} />
            </li>
          ))}
        </ul>
        {found?.next && (
          <Button busy={busy} onClick={() => void look(found.next!)}>
            Show more
          </Button>
        )}
      </div>
    </Dialog>
  )
}

type ResultProps = {result: SearchResult; words: string[]; onFollow: () => void}

const Result = ({result, words, onFollow}: ResultProps) => {
  const shown =
    result.kind === 'post'
      ? {
          to: postPath(result.post.id),
          title: result.post.title,
          text: result.post.body,
          name: result.post.author_name,
          time: result.post.created_at,
        }
      : {
          to: `${roomPath(result.message.roomId)}?at=${result.message.seq}`,
          title: result.roomName,
          text: result.message.content,
          name: result.message.username,
          time: result.message.createdAt,
        }
  return (
    <Link to={shown.to} onClick={onFollow} className="result">
      <bdi className="result-title">
        <Marked text={shown.title} words={result.kind === 'post' ? words : []} />
      </bdi>
      <span className="result-text" dir="auto">
        <Marked text={around(shown.text, words)} words={words} />
      </span>
      <span className="hint">
        {result.kind === 'post' ? 'Post' : 'Room'} · <Name>{shown.name}</Name> · <When time={shown.time} />
      </span>
    </Link>
  )
}

/** The part of a text in which what was looked for stands. */
const around = (text: string, words: string[]): string => {
  const places = words.map((word) => text.toLowerCase().indexOf(word)).filter((place) => place >= 0)
  const first = places.length > 0 ? Math.min(...places) : 0
  const from = first > EXCERPT / 2 ? text.lastIndexOf(' ', first - 40) + 1 : 0
  return (from > 0 ? '… ' : '') + text.slice(from, from + EXCERPT)
}

const Marked = ({text, words}: {text: string; words: string[]}): ReactNode => {
  if (words.length === 0) return text
  const parts: ReactNode[] = []
  let from = 0
  for (const {0: word, index} of text.matchAll(new RegExp(words.join('|'), 'giu'))) {
    parts.push(text.slice(from, index), <mark key={index}>{word}</mark>)
    from = index + word.length
  }
  return [...parts, text.slice(from)]
}
