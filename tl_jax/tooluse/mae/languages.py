"""How tools say in other languages than English that something went wrong: rows for the tables of `phrases`.

`ERRORS` are patterns tied to the beginning of a text, by language. `WORDS` say whose fault it is, by category. A search
without a result is no error in any language: what "was not found" has to be a thing that the call itself named (a
parameter, a tool, a user, a file), as in English. A language is one entry of `ERRORS`, and its twins in the tests.
"""

from __future__ import annotations

from collections.abc import Mapping

_ZH_THING = "(?:必要|必需)?(?:参数|工具|函数|方法|接口|文件|用户|账户|账号|页面|资源|路径|表|字段|密钥|命令)"
_TRADITIONAL = str.maketrans(
    "没发现个条调请执询访问连验证录获败错误时异绝过于频内报码权参数务网络统无对该这为编号户账页资径钥余额后试",
    "沒發現個條調請執詢訪問連驗證錄獲敗錯誤時異絕過於頻內報碼權參數務網絡統無對該這為編號戶帳頁資徑鑰餘額後試",
)
_NO_ERROR = (
    r"\s*(?:0 ?[个個件次条條건]?|[无無]|没有|沒有|なし|無し|없음|keiner?|aucune?|nessuno?|nenhum|нет)"
    r"\s*(?:[.。,，、;；<\n]|$)"
)
"""What follows "Errors:" where there are none."""
_ZH_SPOKEN_OF = rf"(?!率|次?数|日志|日誌|[:：]?{_NO_ERROR})"
"""Not what makes of errors a rate, a number of them, or none."""


def _chinese(*patterns: str) -> tuple[str, ...]:
    """The patterns in simplified characters, and in traditional ones."""
    return (*patterns, *(pattern.translate(_TRADITIONAL) for pattern in patterns))


_KO_THING = (
    "(?:요청|입력|값|형식|매개변수|파라미터|인자|인수|필드|날짜|ID|아이디|비밀번호|주소|접근|경로|API|키|토큰|도구|함수|"
    "사용자|파일|명령|통화|코드|인증)"
)
_KO_SENTENCE = r"[^.!?\n]{0,50}"
_KO_UNABLE = "(?:처리|연결|접근|접속|실행|수행|로드|조회|완료|호출|인식|변환)할|(?:불러올|읽을|열|가져올)"
_JA_THING = (
    "(?:パラメータ|パラメーター|引数|リクエスト|入力|値|形式|日付|ツール|関数|ファイル|ユーザー|キー|トークン|コマンド|URL|"
    "ID|パスワード|フィールド)"
)
_JA_SENTENCE = r"[^。.!?\n]{0,40}"
_JA_VERB = "(?:処理|接続|取得|実行|読み込み|読み取り|アクセス|ログイン|認証|解析|完了|変換|呼び出し|送信)"
_ES_THING = (
    "(?:parámetro|argumento|valor|solicitud|petición|formato|fecha|entrada|clave|token|usuario|contraseña|consulta|"
    "herramienta|función|archivo|fichero|campo|moneda|código|id)s?"
)
_FR_THING = (
    "(?:paramètre|argument|valeur|requête|format|date|entrée|clé|jeton|utilisateur|mot de passe|outil|fonction|"
    "fichier|champ|devise|code|identifiant)s?"
)
_FR_ACT = (
    "(?:connexion|serveur|réseau|syntaxe|validation|type|traitement|requête|base de données|authentification|"
    "paramètre|format|clé|lecture|chargement|communication|certificat|appel|exécution)"
)
_DE_THING = (
    "(?:parameter|argument|wert|anfrage|format|datum|datumsformat|eingabe|schlüssel|token|benutzer|passwort|werkzeug|"
    "funktion|datei|feld|währung|code|api-schlüssel|url|id)"
)
_PT_THING = (
    "(?:parâmetro|argumento|valor|solicitação|requisição|formato|data|entrada|chave|token|usuário|senha|consulta|"
    "ferramenta|função|arquivo|campo|moeda|código|id)s?"
)
_RU_THING = (
    "(?:параметр|аргумент|значени|запрос|формат|дат|ввод|ключ|токен|пользовател|парол|инструмент|функци|файл|пол|"
    r"валют|код|логин|идентификатор)\w{0,3}"
)

ERRORS: Mapping[str, tuple[str, ...]] = {
    "Chinese": _chinese(
        r"(?:(?!没有|未发现|未出现|(?<!\d)0 ?[个次条]).){0,30}"
        r"(?:调用|请求|执行|操作|查询|访问|连接|連線|验证|登录|登入|获取|解析)"
        rf"(?:失败|错误|超时|逾時|出错|异常|被拒绝|过于频繁){_ZH_SPOKEN_OF}",
        r"(?:发生|出现)了?(?:一个)?(?:未知|内部|意外)?的?(?:错误|异常)",
        rf"(?:错误|失败|异常|出错|报错)(?:信息|代码)?\s*(?:[:：](?!{_NO_ERROR})|[!！]|$)",
        r"权限不足|没有权限|拒绝访问|未授权",
        r".{0,30}(?:参数|工具|函数|接口|服务器|伺服器|网络|網路|系统)"
        rf"(?:错误|无效|缺失|不存在|异常|未找到){_ZH_SPOKEN_OF}",
        r".{0,10}(?:缺少|无效的?|未知的?|非法的?)(?:必要|必需)?的?(?:参数|工具|函数|接口|请求)",
        rf"(?:抱歉，?|对不起，?)?(?:未找到|找不到|没有找到)(?:该|此|这个|指定的?|名为|编号|{_ZH_THING})",
        r"(?:抱歉，?|对不起，?)?无法(?!找到|查到|查询到|搜索到|搜尋到)|(?:服务器|系统)(?:内部错误|繁忙)",
        r".{0,12}(?:不存在|有误|余额不足)。?$",
        r"[^。.!?\n]{0,40}[，,。] ?请稍后(?:再试|重试)",
    ),
    "Korean": (
        rf"(?!{_KO_SENTENCE}(?:지 않았|없(?:습니다|음|이)))"
        rf"{_KO_SENTENCE}(?:오류|에러|예외|문제)(?:가|이)? ?(?:발생(?:했|하였|함|하여|됨)|생겼)",
        rf"(?:\S{{1,20}} ){{0,3}}(?:오류|에러|예외)(?: 코드| 메시지)?\s*(?:[:：](?!{_NO_ERROR})|[!(]|$|입니다)",
        rf"(?!{_KO_SENTENCE}(?:지 않았|없(?:습니다|음|이)))"
        rf"{_KO_SENTENCE}실패(?:했|하였|함\b|됨\b|되었|입니다|\s*[:：](?!\s*\d)|[.!]|$)",
        rf"(?:잘못된|유효하지 않은|올바르지 않은|알 수 없는|지원(?:되|하)지 않는|존재하지 않는|누락된) ?{_KO_THING}",
        rf"{_KO_SENTENCE}(?:올바르지 않(?:습|음)|유효하지 않(?:습|음)|잘못되었|잘못됐|존재하지 않(?:습|음)|누락되었|"
        r"누락됐|만료되었|만료됐|거부되었|거부됐|일치하지 않(?:습|음))",
        r"(?!.{0,60}(?:조건|결과|맞는|해당하는|관련|일치))" + _KO_SENTENCE + r"찾을 수 없(?:습니다|음|어요)",
        rf"{_KO_SENTENCE}{_KO_THING}(?:이|가|은|는)? ?(?:반드시 )?(?:필요합니다|필수입니다|필요함)",
        rf"{_KO_SENTENCE}(?:{_KO_UNABLE}) 수 없(?:습니다|음|어요)",
        rf"{_KO_SENTENCE}(?:(?:한도|제한|쿼터|할당량|횟수)(?:를|을|가|이)? ?초과|시간(?:이)? ?초과|타임아웃)",
        r"(?:접근 |사용 |조회 )?권한이 (?:없|부족)|로그인이 필요|인증(?:이 필요|에 실패)",
        r"(?:네트워크|서버|시스템|서비스)\S{0,2} (?:장애|점검|연결이)",
        rf"{_KO_SENTENCE}[.!]? ?(?:잠시|나중에|다시)[^.!?\n]{{0,20}} ?(?:다시 )?시도해 ?(?:주세요|주십시오|보세요)",
    ),
    "Japanese": (
        rf"(?!{_JA_SENTENCE}(?:しませんでした|していません|ありません))"
        rf"{_JA_SENTENCE}(?:エラー|例外|問題)(?:が発生|が起き|が返|です|になりました)",
        rf"[^。.!?\n]{{0,20}}エラー(?:コード)?\s*(?:[:：](?!{_NO_ERROR})|[!！]|\d{{1,5}}|$|。$)",
        rf"{_JA_SENTENCE}(?:に失敗し(?:まし)?た|に失敗しています|が失敗しました|は失敗しました)|"
        rf"(?:(?!沒有|未發現|未出現|(?<!\d)0 ?[件個次條])[^。.!?\n]){{0,12}}失敗\s*(?:[:：](?!\s*\d|{_NO_ERROR})|。?$)",
        rf"{_JA_SENTENCE}{_JA_VERB}(?:が|を|に|することが)?(?:でき|行え)ません",
        rf"(?:無効な|不正な|不明な|未知の|サポートされていない|存在しない|必須の?){_JA_THING}",
        rf"{_JA_SENTENCE}{_JA_THING}[^。.!?\n]{{0,12}}(?:無効|不正|不明)(?:です|な値)",
        rf"{_JA_SENTENCE}(?:正しくありません|存在しません|指定されていません|不足しています|期限が切れ|拒否されました|"
        r"許可されていません)",
        rf"{_JA_SENTENCE}{_JA_THING}[^。.!?\n]{{0,12}}(?:が見つかりません|は?必須です|が必要です)",
        rf"{_JA_SENTENCE}(?:タイムアウト(?:しました|です|$|[:：。])|(?:上限|制限)(?:を超え|に達し))",
        r"(?:アクセス)?権限がありません|ログインが必要|(?:現在|ただいま)?(?:サーバー|サービス|システム)[^。]{0,10}"
        r"(?:利用できません|停止|混雑|メンテナンス)",
        rf"{_JA_SENTENCE}。?(?:しばらく|後ほど|あとで|後で)[^。]{{0,20}}(?:再度|もう一度|お試し|やり直)",
    ),
    "Spanish": (
        r"(?:lo sentimos,? |lo siento,? )?(?:ha ocurrido|ocurrió|se ha producido|se produjo|hubo|hay) un "
        r"(?:error|problema)\b",
        r"error (?:al?|interno|desconocido|inesperado|de (?:conexión|servidor|red|sintaxis|validación|autenticación|"
        r"tipo|formato)|en (?:el servidor|la (?:solicitud|petición|conexión|consulta|base)))\b",
        r"(?:lo sentimos,? )?no se (?:pudo|pudieron|ha podido|puede) (?!encontrar|hallar|localizar)\w+|"
        r"(?:fallo|falló) (?:al|en|la|el)\b",
        rf"(?:(?:el|la|los) )?{_ES_THING}\b[^.!?\n]{{0,60}} (?:no válid|inválid|incorrect|desconocid|obligatori|"
        r"requerid|no encontrad|no existe|no es válid|caducad|expirad)",
        rf"(?:{_ES_THING}) (?:no válid|inválid|incorrect|desconocid|obligatori|requerid|no encontrad)",
        rf"(?:falta(?:n)?|se requiere|debe indicar) (?:(?:el|la|un|una|los) )?{_ES_THING}\b",
        r"tiempo de espera (?:agotado|excedido)|se agotó el tiempo|acceso denegado|no autorizad[oa]\b|permiso denegado",
        r"(?:el )?(?:servicio|servidor)[^.!?\n]{0,30} no (?:está )?disponible|"
        r"límite[^.!?\n]{0,40} (?:superado|excedido)",
        r"[^.!?\n]{0,100}[.,;] ?(?:por favor,? )?(?:inténte(?:n?lo|se)|inténtalo|intente|vuelva a intentar)\w{0,3}\b",
    ),
    "French": (
        r"(?:désolé,? )?une erreur (?:\w{1,20} )?(?:est survenue|s['’]est produite|a été rencontrée|est apparue)",
        rf"erreur (?:lors|interne|inconnue|inattendue|\d{{3}}\b|(?:de |du |d['’]){_FR_ACT})",
        rf"(?:impossible de (?!trouver)\w+|impossible d['’]\w+|échec (?:de |du |d['’])(?:la |l['’])?{_FR_ACT})",
        rf"(?:(?:le|la|les) )?{_FR_THING}\b(?:[^.!?\n]{{0,60}} (?:est|sont))? (?:invalide|incorrect|manquant|inconnu|"
        r"requis|obligatoire|non valide|non reconnu|introuvable|expiré)",
        r"(?:le )?délai (?:d['’]attente )?(?:est )?dépassé|accès (?:refusé|interdit)|non autorisé|permission refusée",
        r"(?:le )?(?:service|serveur)[^.!?\n]{0,30} (?:indisponible|injoignable)|(?:limite|quota)[^.!?\n]{0,40} "
        r"(?:dépassé|atteint)",
        r"[^.!?\n]{0,100}[.,;] ?(?:veuillez |merci de )réessayer\b",
    ),
    "German": (
        r"(?:es ist )?(?:leider )?(?:ist )?ein (?:\w{1,20} )?(?:fehler|problem) (?:ist )?(?:aufgetreten|beim|bei)\b",
        r"fehler (?:beim|bei der|aufgetreten|\d{3}\b)|(?:interner )?(?:server|netzwerk|verbindungs|syntax|daten"
        r"bank|validierungs|authentifizierungs)-?fehler\b\s*(?:[:.!]|$)|interner fehler",
        rf"(?:ungültig|unbekannt|falsch|fehlend|nicht unterstützt)e[rsnm]? {_DE_THING}\w{{0,3}}\b",
        rf"(?:(?:der|die|das|den) )?(?:\w{{1,20}} )?{_DE_THING}\w{{0,3}}\b[^.!?\n]{{0,60}}? (?:fehlt|(?:ist|sind|war) "
        r"(?:erforderlich|ungültig|unbekannt|falsch|abgelaufen)|nicht gefunden|existiert nicht|ungültig)\b",
        r"(?:die |der |das )?(?:anfrage|verbindung|abfrage|aktion|aufruf|vorgang|server|datei|seite|dienst)\b"
        r"[^.!?\n]{0,60} (?:konnten? nicht|ist fehlgeschlagen|fehlgeschlagen|abgelehnt|nicht erreichbar)\b",
        r"zeitüberschreitung\b|zugriff verweigert|nicht autorisiert|keine berechtigung|"
        r"(?:der )?dienst[^.!?\n]{0,30} nicht verfügbar|\w{0,10}limit (?:wurde )?(?:überschritten|erreicht)",
        r"[^.!?\n]{0,100}[.,;] ?bitte[^.!?\n]{0,20} (?:versuchen sie es|erneut versuchen|später)\b",
    ),
    "Portuguese": (
        r"(?:desculpe,? )?(?:ocorreu|houve|aconteceu) um (?:erro|problema)\b",
        r"erro (?:ao|interno|desconhecido|inesperado|\d{3}\b|(?:de|na|no) (?:conexão|servidor|rede|sintaxe|validação|"
        r"autenticação|tipo|formato|requisição|solicitação|consulta|banco))\b",
        r"(?:não foi possível|impossível) (?!encontrar|localizar|achar)\w+|falha (?:ao|na (?:conexão|requisição|"
        r"autenticação|execução|chamada)|no servidor)\b",
        rf"(?:(?:o|a|os) )?{_PT_THING}\b(?:[^.!?\n]{{0,60}} (?:é|está|são))? (?:inválid|incorret|ausente|desconhecid|"
        r"obrigatóri|não encontrad|não existe|não informad|expirad)",
        rf"(?:falta(?:m)?|informe) (?:(?:o|a) )?{_PT_THING}\b",
        r"tempo (?:limite |de espera )?(?:foi )?(?:esgotado|excedido)|acesso negado|não autorizado|permissão negada",
        r"(?:o )?(?:serviço|servidor)[^.!?\n]{0,30} indisponível|limite[^.!?\n]{0,40} (?:excedido|atingido)",
        r"[^.!?\n]{0,100}[.,;] ?(?:por favor,? )?tente (?:novamente|mais tarde|de novo)\b",
    ),
    "Russian": (
        r"(?:извините,? )?(?:произошла|возникла|внутренняя|неизвестная|сетевая|непредвиденная) "
        r"(?:\w{1,20} )?(?:ошибка|проблема)",
        r"ошибка (?:при|в (?:запросе|параметр|данных|синтаксис)|сервера|сети|подключения|соединения|доступа|запроса|"
        r"авторизации|аутентификации|выполнения|обработки|валидации|базы|[45]\d\d)",
        r"не удалось (?!найти)\w+|невозможно (?!найти)\w+",
        rf"(?:неверн|некорректн|недопустим|неправильн|неизвестн)\w{{1,3}} (?:\w{{1,20}} )?{_RU_THING}",
        rf"(?:отсутствует|не указан\w?|требуется|не задан\w?) (?:\w{{1,20}} ){{0,2}}{_RU_THING}",
        r"(?:пользователь|файл|инструмент|функция|параметр|страница|метод)\b[^.!?\n]{0,60} "
        r"не (?:найден|существует|указан)",
        r"превышен\w? (?:время|лимит|таймаут|интервал|количество|допустимое)|(?:истекло|вышло) время|"
        r"доступ (?:запрещ|закрыт|ограничен)|(?:сервис|сервер|служба)[^.!?\n]{0,20} недоступ",
        r"[^.!?\n]{0,100}[.,;] ?(?:пожалуйста,? )?(?:попробуйте|повторите)\b",
    ),
    "other language": (
        r"(?:ошибка|fehler|erreur|errore|erro|błąd|hata|lỗi|fout|fel|chyba|помилка)\b\s*"
        rf"(?:[:：](?!{_NO_ERROR})|[.!(]|\d|$)",
    ),
}
"""Language -> patterns of which one begins an error message."""

WORDS: Mapping[str, tuple[str, ...]] = {
    "missing_parameter": (
        *_chinese("缺少|参数缺失|必填"),
        r"누락|(?:매개변수|파라미터|인자|인수|필드)\S{0,2} ?(?:반드시 )?(?:필요|필수)",
        r"不足しています|指定されていません|必須",
        rf"(?:falta|se requiere|obligatori|requerid).{{0,20}}{_ES_THING}|"
        rf"{_ES_THING}\b.{{0,40}} (?:obligatori|requerid)",
        rf"{_FR_THING}\b.{{0,40}} (?:manquant|requis|obligatoire)|{_DE_THING}\b.{{0,40}} (?:fehlt|erforderlich)",
        rf"falta(?:m)? .{{0,20}}{_PT_THING}|{_PT_THING}\b.{{0,40}} (?:obrigatóri|ausente|não informad)",
        rf"(?:отсутствует|не указан|требуется).{{0,20}} {_RU_THING}",
    ),
    "parameter_hallucination": (
        *_chinese("未知的?参数"),
        r"알 수 없는 (?:매개변수|파라미터|인자|인수)|(?:不明な|未知の)(?:パラメータ|引数)",
        r"(?:parámetro|argumento|parâmetro|paramètre|argument)s? (?:desconocid|desconhecid|inconnu)",
        r"unbekannte[rsn]? (?:parameter|argument)|неизвестн\w{1,3} (?:параметр|аргумент)",
    ),
    "tool_hallucination": (
        *_chinese("(?:工具|函数|接口)不存在|未知的?(?:工具|函数)"),
        r"(?:알 수 없는|존재하지 않는) (?:도구|함수)",
        r"(?:不明な|未知の|存在しない)(?:ツール|関数)|"
        r"(?:herramienta|función|ferramenta|função) (?:desconocid|desconhecid|no existe|não existe)",
        r"(?:outil|fonction) (?:inconnu|introuvable)|unbekannte[rsn]? (?:werkzeug|funktion)|"
        r"неизвестн\w{1,3} (?:инструмент|функци)",
    ),
    "environment": (
        *_chinese("超时|网络|连接|服务器|权限|频繁|授权|拒绝访问"),
        "逾時|網路|連線|伺服器",
        r"서버|네트워크|연결|접속|시간(?:이)? ?초과|타임아웃|한도|쿼터|할당량|횟수|권한|인증|로그인|점검",
        r"サーバー?|ネットワーク|接続|タイムアウト|権限|認証|ログイン|上限|メンテナンス",
        r"servidor|conexión|conexão|tiempo de espera|se agotó|tempo (?:limite|de espera)|denegad|negado|"
        r"autorizad|autenticaci|autenticaç|límite|limite (?:excedid|atingid)",
        r"serveur|connexion|réseau|délai|refusé|indisponible|autorisé|quota",
        r"zeitüberschreitung|verbindung|netzwerk|verweigert|autorisiert|berechtigung|nicht verfügbar|nicht erreichbar",
        r"сервер|сети|сетев|соединени|подключени|врем[яе]|доступ|лимит|авторизаци|аутентификаци|таймаут",
    ),
    "bad_value": (
        *_chinese("无效|参数错误|不合法|格式|未找到|不存在|有误"),
        r"잘못|올바르지|유효하지|형식|존재하지|찾을 수 없|지원(?:되|하)지",
        r"無効|不正|正しくありません|形式|存在しません|見つかりません|サポートされて",
        r"válid|incorrect[oa]|incorret|desconocid|desconhecid|no existe|não existe|encontrad|formato",
        r"invalide|inconnu|introuvable|non valide|non reconnu",
        r"ungültig|unbekannt|falsch|nicht gefunden|existiert nicht",
        r"неверн|некорректн|недопустим|неправильн|неизвестн\w{1,3} (?!ошибка)|не найден|не существует|формат",
    ),
}
"""Category -> words that tell it in a text known to be an error."""

LATER = "稍后|稍後|잠시|나중에|しばらく|後ほど|más tarde|plus tard|später|mais tarde|позже"
"""Words of an error that is the environment's where nothing else says whose it is."""
