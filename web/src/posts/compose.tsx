import {type ClipboardEvent, type DragEvent, type FormEvent, useEffect, useId, useRef, useState} from 'react'
import {ask, type Failure, newKey, toFailure} from '../api.ts'
import {LIMITS, length, type Post, UPLOAD, type User} from '../contract.ts'
import {announce} from '../notices.ts'
import {dropQuery} from '../router.tsx'
import {readStored, writeStored} from '../storage.ts'
import {Avatar, Button, Dialog, Icon, Note} from '../ui/parts.tsx'
import {size} from '../words.ts'
import {isOwnImage} from './attachments.tsx'
import {addOwnPost} from './feed.ts'
import {fileError, type Upload, upload} from './upload.ts'

type Attached = {
  id: number
  name: string
  bytes: number
  share: number
  url: string | null
  error: string | null
  /** What can be tried again. */
  file?: File
}
type Draft = {
  title: string
  body: string
  files: {name: string; bytes: number; url: string}[]
  key: string
  sent: string
}

const AT_ONCE = 2
/** Refusals that stay the same however often the file is sent. */
const FINAL = new Set(['TOO_LARGE', 'TYPE_NOT_ALLOWED', 'UPLOAD_NOT_CONFIGURED', 'NOT_FOUND', 'NO_FILE'])
let lastId = 0
const noDraft = (): Draft => ({title: '', body: '', files: [], key: newKey(), sent: ''})

/** Writing a post. What is written, and what is attached, is kept through a reload. */
export const Compose = ({user}: {user: User}) => {
  const draftKey = `draft:${user.id}:post`
  const [stored] = useState(() => readStored<Draft>(draftKey) ?? noDraft())
  const [asked] = useState(() => new URLSearchParams(window.location.search).has('write'))
  const [open, setOpen] = useState(asked || stored.title !== '' || stored.body !== '' || stored.files.length > 0)
  const [title, setTitle] = useState(stored.title)
  const [body, setBody] = useState(stored.body)
  const [files, setFiles] = useState<Attached[]>(() =>
    stored.files.map((file) => ({...file, id: ++lastId, share: 1, error: null})),
  )
  const [over, setOver] = useState(false)
  const [busy, setBusy] = useState(false)
  const [tried, setTried] = useState(false)
  const [asking, setAsking] = useState(false)
  const [failure, setFailure] = useState<Failure | null>(null)
  const request = useRef({key: stored.key, sent: stored.sent})
  const running = useRef(new Map<number, Upload>())
  const waiting = useRef<{id: number; file: File}[]>([])
  const titleInput = useRef<HTMLInputElement>(null)
  const picker = useRef<HTMLInputElement>(null)
  const ids = {title: useId(), titleError: useId(), body: useId(), bodyError: useId()}

  useEffect(() => {
    const kept = files.flatMap(({name, bytes, url}) => (url ? [{name, bytes, url}] : []))
    const isEmpty = title === '' && body === '' && kept.length === 0
    writeStored(draftKey, isEmpty ? null : {title, body, files: kept, ...request.current})
  }, [draftKey, title, body, files])

  useEffect(() => {
    if (!asked) return
    dropQuery('write')
    titleInput.current?.focus()
  }, [asked])

  useEffect(() => {
    const uploads = running.current
    return () => {
      for (const one of uploads.values()) one.cancel()
    }
  }, [])

  const edit = (id: number, change: Partial<Attached>) =>
    setFiles((now) => now.map((file) => (file.id === id ? {...file, ...change} : file)))

  const next = () => {
    while (running.current.size < AT_ONCE && waiting.current.length > 0) {
      const {id, file} = waiting.current.shift()!
      const started = upload(file, (share) => edit(id, {share}))
      running.current.set(id, started)
      started.done
        .then(
          (url) => {
            edit(id, {url, share: 1})
            announce(`${file.name} is attached.`)
          },
          (error) => {
            const {code, message} = toFailure(error)
            edit(id, {
              error: code === 'OFFLINE' ? 'There was no connection.' : message,
              ...(FINAL.has(code) ? {} : {file}),
            })
          },
        )
        .finally(() => {
          running.current.delete(id)
          next()
        })
    }
  }

  const attach = (chosen: Iterable<File>) => {
    setOpen(true)
    let room = LIMITS.attachments - files.filter(({error}) => error === null).length
    const added = [...chosen].map((file) => {
      const id = ++lastId
      const error = fileError(file) ?? (room-- > 0 ? null : `A post can have ${LIMITS.attachments} attachments.`)
      if (!error) waiting.current.push({id, file})
      return {id, name: file.name || 'Pasted image', bytes: file.size, share: 0, url: null, error}
    })
    setFiles((now) => [...now, ...added])
    next()
  }

  const again = (id: number, file: File) => {
    edit(id, {error: null, share: 0})
    waiting.current.push({id, file})
    next()
  }

  const remove = (id: number) => {
    waiting.current = waiting.current.filter((one) => one.id !== id)
    running.current.get(id)?.cancel()
    setFiles((now) => now.filter((file) => file.id !== id))
  }

  const paste = (event: ClipboardEvent) => {
    const {files: pasted, types} = event.clipboardData
    // Text from an office program brings a picture of itself along.
    if (pasted.length === 0 || (types.includes('text/plain') && types.includes('text/html'))) return
    event.preventDefault()
    attach(pasted)
  }

  const drop = (event: DragEvent) => {
    event.preventDefault()
    setOver(false)
    attach(event.dataTransfer.files)
  }

  const titleError =
    title.trim() === ''
      ? 'Give your post a title.'
      : length(title) > LIMITS.title
        ? `At most ${LIMITS.title} characters: ${length(title) - LIMITS.title} less, please.`
        : null
  const bodyError =
    length(body) > LIMITS.body ? `At most ${LIMITS.body.toLocaleString('en')} characters, please.` : null
  const uploading = files.some(({url, error}) => url === null && error === null)

  const clear = () => {
    for (const one of running.current.values()) one.cancel()
    waiting.current = []
    setTitle('')
    setBody('')
    setFiles([])
    setTried(false)
    setAsking(false)
    setFailure(null)
    setOpen(false)
  }

  const submit = async (event: FormEvent) => {
    event.preventDefault()
    if (busy || uploading) return
    setTried(true)
    if (titleError) titleInput.current?.focus()
    if (titleError || bodyError) return
    setBusy(true)
    setFailure(null)
    const attachments = files.flatMap(({url}) => (url ? [url] : []))
    // The same post sent again is one post; a changed one is another.
    const sent = JSON.stringify([title, body, attachments])
    if (request.current.sent !== '' && request.current.sent !== sent) request.current.key = newKey()
    request.current.sent = sent
    try {
      const headers = {'idempotency-key': request.current.key}
      const answer = await ask<{post: Post}>('POST', '/api/posts', {title, body, attachments}, {headers})
      addOwnPost(answer.body.post)
      request.current = {key: newKey(), sent: ''}
      clear()
      announce('Your post is published.')
    } catch (error) {
      setFailure(toFailure(error))
    }
    setBusy(false)
  }

  if (!open) {
    return (
      <button
        type="button"
        className="compose-closed card"
        onClick={() => {
          setOpen(true)
          requestAnimationFrame(() => titleInput.current?.focus())
        }}
      >
        <Avatar id={user.id} name={user.username} />
        <span>Write a post…</span>
      </button>
    )
  }
  return (
    <form
      className={`card compose ${over ? 'is-over' : ''}`}
      aria-label="Write a post"
      onSubmit={submit}
      onPaste={paste}
      onDragOver={(event) => {
        if (!event.dataTransfer.types.includes('Files')) return
        event.preventDefault()
        setOver(true)
      }}
      onDragLeave={(event) => !event.currentTarget.contains(event.relatedTarget as Node | null) && setOver(false)}
      onDrop={drop}
      noValidate
    >
      <label className="visually-hidden" htmlFor={ids.title}>
        Title
      </label>
      <input
        id={ids.title}
        ref={titleInput}
        className="compose-title"
        placeholder="Title"
        value={title}
        dir="auto"
        onChange={(event) => setTitle(event.target.value)}
        aria-invalid={tried && titleError ? true : undefined}
        aria-describedby={tried && titleError ? ids.titleError : undefined}
        aria-required="true"
      />
      {tried && titleError && (
        <p className="field-error" id={ids.titleError}>
          {titleError}
        </p>
      )}
      <label className="visually-hidden" htmlFor={ids.body}>
        Text
      </label>
      <textarea
        id={ids.body}
        className="compose-body grows"
        placeholder="What is it about? Files can be pasted or dropped here."
        value={body}
        dir="auto"
        rows={3}
        onChange={(event) => setBody(event.target.value)}
        aria-invalid={bodyError ? true : undefined}
        aria-describedby={bodyError ? ids.bodyError : undefined}
      />
      {bodyError && (
        <p className="field-error" id={ids.bodyError}>
          {bodyError}
        </p>
      )}
      {files.length > 0 && (
        <ul className="files" aria-label="Attachments">
          {files.map((file) => (
            <AttachedFile
              key={file.id}
              attached={file}
              again={(bytes) => again(file.id, bytes)}
              remove={() => remove(file.id)}
            />
          ))}
        </ul>
      )}
      {failure && (
        <Note tone="bad">
          <p>{failure.message}</p>
          {failure.code === 'OFFLINE' && <p>Your text is kept. Publishing it twice is not possible: just try again.</p>}
        </Note>
      )}
      <div className="compose-foot">
        <input
          ref={picker}
          type="file"
          multiple
          hidden
          accept={UPLOAD.types.join(',')}
          onChange={(event) => {
            attach(event.target.files ?? [])
            event.target.value = ''
          }}
        />
        <Button onClick={() => picker.current?.click()}>
          <Icon name="clip" /> Attach files
        </Button>
        <span className="compose-foot-end">
          <Button look="plain" onClick={() => (title + body === '' && files.length === 0 ? clear() : setAsking(true))}>
            Discard
          </Button>
          <Button type="submit" look="main" busy={busy} aria-disabled={uploading || busy || undefined}>
            {uploading ? 'Uploading…' : 'Publish'}
          </Button>
        </span>
      </div>
      {over && <div className="drop-here">Drop files to attach them</div>}
      {asking && (
        <Dialog title="Discard what you wrote?" onClose={() => setAsking(false)}>
          <p>It is not published, and can not be brought back.</p>
          <div className="dialog-foot">
            <Button onClick={() => setAsking(false)}>Keep writing</Button>
            <Button look="danger" onClick={clear}>
              Discard it
            </Button>
          </div>
        </Dialog>
      )}
    </form>
  )
}

type AttachedFileProps = {attached: Attached; again: (file: File) => void; remove: () => void}

const AttachedFile = ({attached, again, remove}: AttachedFileProps) => {
  const {name, bytes, share, url, error, file} = attached
  return (
    <li className={error ? 'file is-bad' : 'file'}>
      {url && isOwnImage(url) ? (
        <img src={url} alt="" />
      ) : (
        <span className="file-icon">
          <Icon name="file" />
        </span>
      )}
      <span className="file-text">
        <span className="file-name">{name}</span>
        {error ? (
          <span className="file-error" role="alert">
            {error}{' '}
            {file && (
              <button type="button" className="link-button" onClick={() => again(file)}>
                Try again
              </button>
            )}
          </span>
        ) : url ? (
          <span className="hint">{size(bytes)} · attached</span>
        ) : (
          <progress value={share} max={1} aria-label={`${name} is being uploaded`} />
        )}
      </span>
      <button type="button" className="icon-button" aria-label={`Remove ${name}`} onClick={remove}>
        <Icon name="close" />
      </button>
    </li>
  )
}
